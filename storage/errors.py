"""What storage raises for its callers to act on."""


class Restart(Exception):
    """What was read has changed meanwhile: roll back and apply the batch again. Nothing was lost."""


class Unavailable(Exception):
    """A query found no database, or no connection to it that was free: it may be asked again.

    The message names the kind of the driver's error, which is the cause.
    """


class TooLarge(Exception):
    """A page holds more bytes than whoever asked can take."""


class ReadTimeout(Exception):
    """A statement of a query took longer than one may, and the database ended it."""
