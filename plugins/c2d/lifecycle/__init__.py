"""A job's way through the system: submit, dispatch, stop, sweep."""
