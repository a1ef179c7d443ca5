"""Pods: the node that runs them, the life of each, and how a pod's spec becomes containers."""
