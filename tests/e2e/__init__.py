"""Whole jobs on the whole system: the same cases on the laptop stack and, where one is given, on a Kubernetes cluster."""
