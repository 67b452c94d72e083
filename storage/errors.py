"""What storage raises for its callers to act on."""


class Restart(Exception):
    """What was read has changed meanwhile: roll back and apply the batch again. Nothing was lost."""


class ReadTimeout(Exception):
    """A statement of a query took longer than one may, and the database ended it."""
