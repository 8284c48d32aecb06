"""Code of others: whether it can be registered, which source it came from, whether it or the user
interrupted a command."""
