"""Events: what has happened, in the past tense. One module a noun."""
