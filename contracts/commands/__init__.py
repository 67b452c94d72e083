"""Commands: what upstream services ask for. One module a noun."""
