"""The HTTP APIs: Ocean's Operator-Service and Provider."""
