"""filter: decides which of the algorithm's files may leave."""
