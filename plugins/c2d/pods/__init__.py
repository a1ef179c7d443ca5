"""A job's Kubernetes objects, as pure functions."""
