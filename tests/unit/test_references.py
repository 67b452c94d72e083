"""What code and pages refer to: documents of the project's own, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    *(
        file
        for folder in ("contracts", "storage", "workers", "ops", "tests")
        for file in (ROOT / folder).rglob("*.py")
    ),
    *(ROOT / "docs").rglob("*.md"),
    *ROOT.glob("*.md"),
]
TEXTS = {file: file.read_text() for file in FILES if file != Path(__file__).resolve()}
ELSEWHERE = re.compile(r"\b(INTERFACES|DESIGN|issue #?\d+)\b")


def test_every_page_that_is_named_is_there():
    named = {page for text in TEXTS.values() for page in re.findall(r"\bdocs/[a-z0-9/-]+\.md\b", text)}
    assert len(named) > 10
    assert {page for page in named if not (ROOT / page).is_file()} == set()


def test_nothing_is_named_that_a_reader_does_not_have():
    found = [
        (file.relative_to(ROOT), match[0])
        for file, text in TEXTS.items()
        for match in ELSEWHERE.finditer(text)
    ]
    assert found == []
