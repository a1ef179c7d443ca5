"""A pod runner for a laptop: it serves the part of the Kubernetes API that KubernetesPodOperator uses and runs pods as sandboxed processes.

It exists so that a newcomer can run real jobs, with the operators that production uses, on a machine that has no container engine and no
cluster. README.md in this folder says what it serves, what it leaves out and how it is tested.
"""
