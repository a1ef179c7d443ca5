"""Keys, signatures and the format of encrypted results."""
