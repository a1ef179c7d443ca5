"""Containers as processes of this machine: what they see, how they are isolated and limited, and what they write."""
