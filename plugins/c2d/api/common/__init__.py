"""What the Operator-Service and the Provider have in common. Neither imports the other."""
