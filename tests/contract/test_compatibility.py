"""The check that tells which changes of a schema break somebody."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import orjson
import pytest

from contracts.compatibility import breaking_changes
from contracts.schemas import entries
from ops.cli.docs import ROOT, generate

SCHEMAS = {entry.name: entry for entry in entries()}
Schema = dict[str, Any]


def changed(name: str, change: Callable[[Schema], Any]) -> list[str]:
    """What the check says of a schema after the change."""
    entry = SCHEMAS[name]
    new = deepcopy(entry.schema)
    change(new)
    return breaking_changes(entry.schema, new, entry.direction)


def set_of(schema: Schema) -> Schema:
    found: Schema = schema["$defs"]["ContactSet"]["properties"]
    return found


@pytest.mark.parametrize("name", SCHEMAS)
def test_nothing_breaks_itself(name: str) -> None:
    assert changed(name, lambda schema: None) == []


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("command.contact.create", lambda s: s["properties"].pop("first_name"), "data.first_name: removed"),
        ("command.contact.update", lambda s: set_of(s).pop("tags"), "data.set.tags: removed"),
        ("command.contact.create", lambda s: s.update(required=["email"]), "data.email: now required"),
        (
            "command.contact.create",
            lambda s: s["properties"].update(first_name={"type": "string"}),
            "data.first_name: no longer takes null",
        ),
        (
            "command.contact.update",
            lambda s: set_of(s)["first_name"].update(maxLength=50),
            "data.set.first_name: maxLength is now 50, was 100",
        ),
        (
            "command.timeline.record",
            lambda s: s["$defs"]["Category"]["enum"].remove("note"),
            "data.category: no longer knows 'note'",
        ),
        (
            "command.contact.create",
            lambda s: s["properties"].update(attributes={"type": "object", "additionalProperties": False}),
            "data.attributes: unknown fields are now refused",
        ),
        (
            "command.contact.update",
            lambda s: set_of(s)["email"].update(pattern="@"),
            "data.set.email: pattern is now @, was free",
        ),
        (
            "command.contact.update",
            lambda s: set_of(s)["email"].update(enum=["a@example.com"]),
            "data.set.email: now only takes a@example.com",
        ),
        ("contact.created", lambda s: s["properties"].pop("contact"), "data.contact: removed"),
        (
            "contact.created",
            lambda s: s["required"].remove("version"),
            "data.version: no longer always there",
        ),
        (
            "contact.tagged",
            lambda s: s["properties"].update(
                tag={"type": ["null"]} | {"anyOf": [{"type": "string"}, {"type": "null"}]}
            ),
            "data.tag: may now be null",
        ),
        (
            "query.contact.list.answer",
            lambda s: s["$defs"]["IdentifierDocument"]["properties"].pop("raw"),
            "data.data[].identifiers[].raw: removed",
        ),
        (
            "query.contact.list.request",
            lambda s: s["properties"]["page_size"].update(maximum=50),
            "data.page_size: maximum is now 50, was 100",
        ),
    ],
)
def test_what_breaks(name: str, change: Callable[[Schema], Any], said: str) -> None:
    assert said in changed(name, change)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("command.contact.create", lambda s: s["properties"].update(nickname={"type": "string"})),
        ("command.contact.delete", lambda s: s["properties"].update(reason={})),
        ("command.contact.delete", lambda s: s.update(required=[])),
        ("command.contact.update", lambda s: set_of(s)["first_name"].update(maxLength=200)),
        ("command.timeline.record", lambda s: s["$defs"]["Category"]["enum"].append("rumour")),
        ("contact.tagged", lambda s: s["properties"].update(color={"type": "string"})),
        ("contact.deleted", lambda s: s["properties"].update(reason={"type": "string"})),
        ("contact.tagged", lambda s: s["properties"]["tag"].update(description="its name")),
    ],
)
def test_what_breaks_nobody(name: str, change: Callable[[Schema], Any]) -> None:
    assert changed(name, change) == []


def test_a_new_major_version_may_break() -> None:
    def change(schema: Schema) -> None:
        schema["$id"] = schema["$id"].replace(":1.0", ":2.0")
        schema["properties"].pop("first_name")

    assert changed("command.contact.create", change) == []


def test_a_removed_field_is_seen_and_nothing_is_written(tmp_path: Path) -> None:
    """The document on disk has a field that the model has lost."""
    assert generate(tmp_path, check=False) == []
    path = tmp_path / "docs/schemas/command.contact.create.json"
    before = orjson.loads(path.read_bytes())
    before["properties"]["nickname"] = {"type": "string"}
    path.write_bytes(orjson.dumps(before))
    said = [
        "docs/schemas/command.contact.create.json: data.nickname: removed; undo it or raise the major version (or remove the file, where nobody relies on it yet)"
    ]
    assert generate(tmp_path, check=False) == said
    assert orjson.loads(path.read_bytes()) == before
    assert generate(tmp_path, check=True)[0] == said[0]


def test_what_is_out_of_date_or_left_over_is_named(tmp_path: Path) -> None:
    generate(tmp_path, check=False)
    (tmp_path / "docs/asyncapi.json").write_bytes(b"{}")
    stray = tmp_path / "docs/examples/contact.renamed.json"
    stray.write_bytes(b"{}")
    assert generate(tmp_path, check=True) == [
        "docs/asyncapi.json: out of date; run `make docs`",
        "docs/examples/contact.renamed.json: shows nothing; run `make docs`",
    ]
    generate(tmp_path, check=False)
    assert not stray.exists()
    assert generate(tmp_path, check=True) == []


def test_a_message_that_is_gone_is_seen(tmp_path: Path) -> None:
    generate(tmp_path, check=False)
    gone = tmp_path / "docs/schemas/command.contact.rename.json"
    gone.write_bytes(b"{}")
    said = [f"docs/schemas/{gone.name}: the message is gone; take it back or remove the file"]
    assert generate(tmp_path, check=False) == said
    assert gone.exists()


def test_the_documents_of_this_tree_are_current() -> None:
    assert generate(ROOT, check=True) == []
