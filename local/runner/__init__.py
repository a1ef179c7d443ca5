"""The laptop pod runner: the part of the Kubernetes API that our operators use, with pods as sandboxed processes."""
