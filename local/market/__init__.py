"""A small Ocean market on this machine, for tests and `make demo-market`: a chain with Ocean's real contracts, and a metadata cache.

Nothing here is part of the product.
"""
