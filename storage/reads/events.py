"""Timeline events as rows: what is shown of one, which of them a query is about, and in which order.

Expired ones are hidden everywhere.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Row,
    Text,
    cast,
    func,
    literal,
    or_,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONPATH

from storage.tables import contact_events

CLIENT_NEVER_SEES = ("metadata", "triggered_by", "integration_source")
# As plain text: SQLAlchemy has a kind of its own, which is no key to a JSON encoder.
NAMES = tuple(str(column.name) for column in contact_events.c if column.name != "tenant_id")
FIELDS = tuple(contact_events.c[name] for name in NAMES)

UNEXPIRED = or_(contact_events.c.expires_at.is_(None), contact_events.c.expires_at > func.now())


def names(visible_to: str | None = None) -> tuple[str, ...]:
    """The fields of a timeline event, in order; a contact's client sees fewer of them."""
    return tuple(name for name in NAMES if visible_to != "client" or name not in CLIENT_NEVER_SEES)


def document(row: Row[Any], visible_to: str | None = None) -> dict[str, Any]:
    """A row of FIELDS as a TimelineDocument of contracts/documents.py, for whoever it is for."""
    shown = dict(zip(NAMES, row, strict=True))
    return {name: shown[name] for name in names(visible_to)}


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What events are narrowed to. ``since`` is included, ``until`` is not; ``visible_to`` is client or agent.

    ``undelivered``: realtime events that wait to be. ``containing``: a piece of a text, in upper or lower case.
    ``written_since`` bounds by created_at, which is how far a walk by id needs to go.
    """

    category: str | None = None
    type: str | None = None
    source: str | None = None
    session_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    written_since: datetime | None = None
    visible_to: str | None = None
    undelivered: bool = False
    containing: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        e = contact_events.c
        conditions: list[ColumnElement[bool]] = [UNEXPIRED]
        conditions += [
            e[name] == value
            for name in ("category", "type", "source", "session_id")
            if (value := getattr(self, name))
        ]
        if self.since is not None:
            conditions.append(e.occurred_at >= self.since)
        if self.until is not None:
            conditions.append(e.occurred_at < self.until)
        if self.written_since is not None:
            conditions.append(e.created_at >= self.written_since)
        if self.visible_to is not None:
            conditions.append(e[f"visible_to_{self.visible_to}"])
        if self.undelivered:
            conditions += [e.realtime, e.delivered_at.is_(None)]
        if self.containing is not None:
            conditions.append(_contains(self.containing))
        return conditions


def _contains(text: str) -> ColumnElement[bool]:
    """One way of comparing for columns and payload, in which no character of the text has a meaning of its own."""
    e = contact_events.c
    literally = literal(f"***={text}", Text)
    path = f'strict $.** ? (@ like_regex {orjson.dumps(text).decode()} flag "iq")'
    return or_(
        e.title.op("~*")(literally),
        e.description.op("~*")(literally),
        func.jsonb_path_exists(e.payload, cast(literal(path, Text), JSONPATH)),
    )


@dataclass(frozen=True, slots=True)
class Order:
    """By these columns, all of them one way; together they are unique."""

    columns: tuple[Column[Any], ...]
    descending: bool = False

    def of(self, rows: FromClause) -> list[ColumnElement[Any]]:
        """What rows that carry FIELDS are sorted by."""
        by = [rows.c[column.name] for column in self.columns]
        return [column.desc() for column in by] if self.descending else list(by)

    def position(self, row: Row[Any]) -> list[Any]:
        return [getattr(row, column.name) for column in self.columns]

    def after(self, position: list[Any]) -> ColumnElement[bool]:
        """What comes after a position, which was JSON meanwhile."""
        last = tuple_(*map(_value, self.columns, position))
        columns = tuple_(*self.columns)
        return columns < last if self.descending else columns > last


_FROM_JSON: dict[type, Callable[[Any], Any]] = {
    datetime: datetime.fromisoformat,
    uuid.UUID: uuid.UUID,
    int: int,
}


def _value(column: Column[Any], said: Any) -> ColumnElement[Any]:
    return literal(_FROM_JSON[column.type.python_type](said), column.type)


_E = contact_events.c
NEWEST = Order((_E.occurred_at, _E.sequence, _E.id), descending=True)
OLDEST = Order((_E.occurred_at, _E.sequence, _E.id))
IN_SEQUENCE = Order((_E.sequence, _E.id))
LONGEST_WAITING = Order((_E.created_at, _E.id))
LAST_WRITTEN = Order((_E.id,), descending=True)  # ids are UUIDv7
