"""What an operator configures: the installation, its environments and its Provider."""
