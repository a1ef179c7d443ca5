"""Complete jobs on the complete system: on the laptop stack and, with C2D_CLUSTER=kubernetes, on a Kubernetes cluster."""
