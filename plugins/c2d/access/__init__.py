"""Ocean's rules applied with what the outside systems know."""
