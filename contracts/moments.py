"""Points in time as the bus writes them: RFC 3339 with an offset, in UTC once read."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


def moment(text: str) -> datetime:
    """In UTC, to the microsecond. Raises ValueError, with a message that follows the field's name."""
    if _RFC3339.fullmatch(text) is None:
        raise ValueError("must be RFC 3339 with an offset, such as 2026-01-31T12:00:00Z")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("there is no such moment in the years 1 to 9999 of UTC") from None
