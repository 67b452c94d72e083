"""Reading fields that a provider may leave out, send as null or in another type."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from contracts.vocabulary import CHANNEL_PATTERN
from contracts.webhooks.items import PayloadError

IDENTIFIER_LIMIT = 255
MESSAGE_ID_LIMIT = 255
THREAD_LIMIT = 128
NAME_LIMIT = 255

_CHANNEL = re.compile(CHANNEL_PATTERN)
_STATUS_LIMIT = 40
_LATEST_SECOND = 10**11  # year 5138; beyond it a number counts milliseconds


def text_of(value: Any) -> str | None:
    """A string without the space around it, a whole number as its digits; None for blank and for anything else."""
    if type(value) is str:
        return value.strip() or None
    if type(value) is int:
        return str(value)
    return None


def identifier_of(value: Any, field: str) -> str | None:
    """Like ``text_of``; raises PayloadError for what is longer than an identifier can be."""
    text = text_of(value)
    if text is not None and len(text) > IDENTIFIER_LIMIT:
        raise PayloadError(field, f"longer than {IDENTIFIER_LIMIT} characters")
    return text


def name_of(value: Any) -> str | None:
    """A person's name, cut to what a column holds: no message is refused for it."""
    text = text_of(value)
    return text[:NAME_LIMIT] if text is not None else None


def thread_of(value: Any) -> str | None:
    """A thread's id; None if it is longer than one can be (cut, it might name another thread)."""
    text = text_of(value)
    return text if text is not None and len(text) <= THREAD_LIMIT else None


def object_of(value: Any) -> dict[str, Any]:
    """The object itself, an empty one for anything else."""
    return value if type(value) is dict else {}


def objects_of(value: Any) -> list[dict[str, Any]]:
    """The objects of a list, none for anything else."""
    return [entry for entry in value if type(entry) is dict] if type(value) is list else []


def moment_of(value: Any) -> datetime | None:
    """A Unix time in seconds or milliseconds, as a number or its digits; None for what is none."""
    if type(value) is str:
        digits = value.strip()
        if not digits.isascii() or not digits.isdigit() or len(digits) > 15:
            return None
        value = int(digits)
    elif type(value) is not int and type(value) is not float:
        return None
    if not 0 < value < _LATEST_SECOND * 1000:
        return None
    return datetime.fromtimestamp(value / 1000 if value >= _LATEST_SECOND else value, UTC)


def is_channel(text: str) -> bool:
    """Whether a command or a query can name it."""
    return _CHANNEL.fullmatch(text) is not None


def is_status(word: str) -> bool:
    """Whether it can be part of a timeline event's type."""
    return word.isascii() and word.isidentifier() and len(word) <= _STATUS_LIMIT


def is_person(channel: str, identifier: str) -> bool:
    """False for what only machines write from: short codes and alphanumeric senders of the phone networks."""
    if channel not in {"sms", "rcs", "voice"}:
        return True
    return sum(map(str.isdigit, identifier)) >= 7 and not any(map(str.isalpha, identifier))
