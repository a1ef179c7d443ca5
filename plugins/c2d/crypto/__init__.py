"""Sealed secrets, signatures, and the format of encrypted results."""
