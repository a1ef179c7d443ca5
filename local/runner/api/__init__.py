"""The HTTP side: routes, request parsing, validation, watches and logs."""
