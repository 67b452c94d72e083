"""The generated documents: JSON Schemas, examples, AsyncAPI, tables. ``rollcall docs`` is the only one who writes them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson

from contracts.compatibility import breaking_changes
from contracts.registry import (
    CLIENT_FRAMES,
    COMMANDS,
    EVENT_MODELS,
    PROVIDERS,
    QUERIES,
    SERVER_FRAMES,
    example,
)
from contracts.schemas import entries
from ops import asyncapi
from ops.cli import tables

ROOT = Path(__file__).resolve().parents[2]


def generate(root: Path, check: bool) -> list[str]:
    """Write the documents below ``root``/docs, or with ``check`` only compare. Answers what is wrong.

    A schema that breaks who relied on the one that is there is never written: it needs a new major version. Nor is a
    schema ever removed: whoever withdraws a message removes its file.
    """
    problems = _incompatible(root)
    if problems and not check:
        return problems
    wanted = _documents()
    docs = root / "docs"
    for name, body in wanted.items():
        path = docs / name
        if path.exists() and path.read_bytes() == body:
            continue
        if check:
            problems.append(f"docs/{name}: out of date; run `make docs`")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
    for path in sorted((docs / "examples").glob("*.json")):
        if f"examples/{path.name}" in wanted:
            continue
        if check:
            problems.append(f"docs/examples/{path.name}: shows nothing; run `make docs`")
        else:
            path.unlink()
    return problems


def main(*, check: bool) -> int:
    """The command; answers its exit code."""
    problems = generate(ROOT, check)
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


def _documents() -> dict[str, bytes]:
    """By path below docs/."""
    documents = {f"schemas/{entry.name}.json": entry.schema for entry in entries()}
    types = (
        [f"command.{name}" for name in COMMANDS]
        + [f"webhook.{name}" for name in PROVIDERS]
        + list(EVENT_MODELS)
    )
    documents |= {f"examples/{type_}.json": asyncapi.sample(type_) for type_ in types}
    documents |= {f"examples/query.{name}.json": example(f"query.{name}") for name in QUERIES}
    frames = [*CLIENT_FRAMES, *SERVER_FRAMES]
    documents |= {f"examples/realtime.{name}.json": example(f"realtime.{name}") for name in frames}
    documents["asyncapi.json"] = asyncapi.document()
    encoded = {name: _encoded(document) for name, document in documents.items()}
    return encoded | {name: page.encode() for name, page in tables.pages().items()}


def _encoded(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _incompatible(root: Path) -> list[str]:
    known = {f"{entry.name}.json" for entry in entries()}
    problems = [
        f"docs/schemas/{path.name}: the message is gone; take it back or remove the file"
        for path in sorted((root / "docs/schemas").glob("*.json"))
        if path.name not in known
    ]
    for entry in entries():
        path = root / "docs/schemas" / f"{entry.name}.json"
        if path.exists():
            changes = breaking_changes(orjson.loads(path.read_bytes()), entry.schema, entry.direction)
            problems += [
                f"docs/schemas/{path.name}: {change}; undo it or raise the major version (or remove the file, where nobody relies on it yet)"
                for change in changes
            ]
    return problems
