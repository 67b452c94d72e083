"""A query's body as it came: JSON, and no text in it that no database can hold."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from typing import Any, NoReturn

import orjson

from workers.queries.handlers.answer import invalid

_UNSTORABLE = "holds NUL, or half of a surrogate pair; send the text without it"


def fields(body: bytes) -> Any:
    """The request's fields; an empty body asks without any. Raises Refusal."""
    if not body:
        return {}
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        asked = _with_half_pairs(body, str(error))
    if b"\\u" in body:  # nothing else puts such text into JSON
        errors = [{"field": field, "message": _UNSTORABLE} for field in dict.fromkeys(_unstorable(asked))]
        if errors:
            raise invalid(errors)
    return asked


def _with_half_pairs(body: bytes, problem: str) -> Any:
    """What orjson refused for the sake of half a surrogate pair, so that its field can be named. Raises Refusal."""
    try:
        if b"\\ud" in body.lower():
            return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        pass
    raise invalid([{"field": "data", "message": f"not JSON: {problem}"}])


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _unstorable(asked: Any) -> Iterator[str]:
    """The dotted names of the fields that hold such text; one whose own name does is told by what it stands in."""
    waiting = deque([("", asked)])  # and no recursion: how deep it is, is the sender's choice
    while waiting:
        field, value = waiting.popleft()
        if isinstance(value, str) and not _storable(value):
            yield field or "data"
        items = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for name, item in items:
            if _storable(str(name)):
                waiting.append((f"{field}.{name}" if field else str(name), item))
            else:
                yield field or "data"


def _storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
