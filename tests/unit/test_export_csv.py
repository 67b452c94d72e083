"""The cells of an exported timeline: nothing in them is a formula, and what was in them can be read back."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest

from workers.exports.csv import cell, pieces

FORMULAS = [
    "=1+1",
    "+49",
    "-1",
    "@x",
    "\tx",
    "\rx",
    " =1",
    "\n=1",
    "\u00a0+1",
    "  \t @x",
    "\u3000-1",
    "\uff1d1",
    "\uff20x",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "Müller", "a=b", "1-2", "'=1", " x", "\nx", "العربية", "漢字", "{=1}"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert cell(text) == text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "true"),
        (False, "false"),
        (12, "12"),
        ({}, "{}"),
        ({"a": "=1", "ü": [1, None]}, '{"a":"=1","ü":[1,null]}'),
        (datetime(2026, 1, 31, 12, tzinfo=UTC), "2026-01-31T12:00:00Z"),
        (datetime(2026, 1, 31, 12, 0, 0, 1, UTC), "2026-01-31T12:00:00.000001Z"),
        (datetime(999, 1, 1, tzinfo=UTC), "0999-01-01T00:00:00Z"),
    ],
)
def test_cells(value: Any, shown: str) -> None:
    assert cell(value) == shown


async def test_a_spreadsheet_reads_back_what_was_written() -> None:
    hard = ['"', ",", "a\nb", "a\r\nb", "a\rb", ";", 'Müller, "العربية"', "漢字", "😀"]
    events = [
        {"title": text, "sequence": n, "payload": {"text": text}, "hidden": 1} for n, text in enumerate(hard)
    ]

    async def pages():
        yield events[:4]
        yield events[4:]

    written = b"".join([piece async for piece in pieces(("sequence", "title", "payload"), pages())])
    assert written.startswith(b"\xef\xbb\xbfsequence,title,payload\r\n")
    assert written.endswith(b"\r\n")
    header, *rows = csv.reader(io.StringIO(written.decode("utf-8-sig"), newline=""), strict=True)
    assert header == ["sequence", "title", "payload"]
    assert [row[:2] for row in rows] == [[str(n), text] for n, text in enumerate(hard)]
    assert [row[2] for row in rows] == [cell({"text": text}) for text in hard]
