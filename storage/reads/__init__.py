"""Query SQL. Every read goes through ``session.Reads``, which binds it to one tenant."""
