"""Ocean's Provider protocol: what its clients use as their providerUri (docs/reference/provider.md)."""
