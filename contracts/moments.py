"""Points in time as the bus writes them: RFC 3339 with an offset, in UTC once read."""

from __future__ import annotations

import re
from datetime import UTC, datetime

# The first and the last microsecond there are mean minus and plus infinity to the database: moments stay clear of them.
EARLIEST = datetime.min.replace(microsecond=1, tzinfo=UTC)
LATEST = datetime.max.replace(microsecond=999_998, tzinfo=UTC)

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


def moment(text: str) -> datetime:
    """In UTC, to the microsecond, from EARLIEST to LATEST. Raises ValueError, with a message that follows the field's name."""
    if _RFC3339.fullmatch(text) is None:
        raise ValueError("must be RFC 3339 with an offset, such as 2026-01-31T12:00:00Z")
    try:
        return min(max(datetime.fromisoformat(text.upper()).astimezone(UTC), EARLIEST), LATEST)
    except (ValueError, OverflowError):
        raise ValueError("there is no such moment in the years 1 to 9999 of UTC") from None
