"""The ``c2d`` command."""
