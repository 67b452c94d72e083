"""A timeline as CSV (RFC 4180): a row an event, and a header of the fields' names.

It begins with a byte order mark: without one spreadsheets take UTF-8 for the code page of the machine, and show MÃ¼ller.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

# What a spreadsheet takes for a formula, also behind white space, which it drops; and in its full-width forms.
_FORMULA: Final = re.compile(r"[\t\r]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")


async def pieces(names: Sequence[str], pages: AsyncIterator[list[dict[str, Any]]]) -> AsyncIterator[bytes]:
    """The header, then a piece for each page of events, of which the named fields are shown."""
    yield codecs.BOM_UTF8 + _rows([names])
    async for events in pages:
        yield _rows([cell(event[name]) for name in names] for event in events)


def cell(value: Any) -> str:
    """A field as a spreadsheet shows it: times in RFC 3339 and UTC, objects as JSON, null as nothing, and never a formula."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode().strip('"')
    if isinstance(value, dict | bool):
        return orjson.dumps(value).decode()
    text = str(value)
    return f"'{text}" if _FORMULA.match(text) else text


def _rows(rows: Iterable[Sequence[str]]) -> bytes:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerows(rows)
    return written.getvalue().encode()
