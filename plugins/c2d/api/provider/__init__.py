"""Ocean's Provider: what its clients are given as providerUri."""
