"""Folding without a database: a dict of contacts stands in for the tables."""

from __future__ import annotations

import functools
import itertools
import json
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import orjson
import uuid_utils

from contracts import envelope
from contracts.envelope import Envelope
from ops.settings import Settings
from storage.batch import Changes, Loaded, Wanted
from storage.inbox import SeenKey
from storage.marks import EventKey
from storage.rows import Contact, EventState, TimelineEvent
from tests.helpers.replica import loud
from workers.contacts import Commands
from workers.engine.record import Outcome, Record
from workers.fold.apply import fold
from workers.fold.directory import Directory
from workers.fold.documents import document
from workers.fold.marks import state_of
from workers.inbox import Webhooks

START = datetime(2026, 4, 1, 12, tzinfo=UTC)
SETTINGS = Settings(nats_url="nats://nowhere:4222", postgres_dsn="postgresql://nobody@nowhere/none")
COMMANDS, WEBHOOKS = Commands(SETTINGS), Webhooks(SETTINGS)
TENANT = "acme"

MOMENTS = ("created_at", "updated_at", "time", "at")  # of the database's clock

Message = tuple[str, Any]  # kind, data


@dataclass
class World:
    """Everything that the tables hold, and all that left."""

    contacts: dict[tuple[str, uuid.UUID], Contact] = field(default_factory=dict)
    outcomes: dict[SeenKey, str] = field(default_factory=dict)
    timeline: dict[EventKey, TimelineEvent] = field(default_factory=dict)
    marks: dict[EventKey, EventState] = field(default_factory=dict)  # of every event of the timeline
    events: list[dict[str, Any]] = field(default_factory=list)
    batches: int = 0
    _drawn: Counter[int] = field(default_factory=Counter)  # ids, by the message that drew them

    def apply(self, records: Sequence[Record]) -> list[Outcome]:
        """One batch of one stream."""
        processor = COMMANDS if records[0].stream == "COMMAND" else WEBHOOKS
        messages = [processor.decode(record) for record in records]
        wanted = Wanted()
        for message in messages:
            wanted.message_ids.add(message.opened.seen_key)
            message.want(wanted)
        directory = Directory(self._load(wanted))
        outcomes: list[Outcome] = []
        for message in messages:
            draw = functools.partial(self._draw, message.record.sequence)
            with mock.patch.object(uuid_utils, "uuid7", draw):
                applied = fold(directory, [message])
            outcomes += applied.outcomes
            self.events += [orjson.loads(event.payload) for event in applied.events]
        self._persist(directory.changes())
        return outcomes

    def _draw(self, sequence: int) -> uuid.UUID:
        self._drawn[sequence] += 1
        return nth_id(sequence, self._drawn[sequence] - 1)

    def _load(self, wanted: Wanted) -> Loaded:
        """Only what was asked for, and copies of it: a fold that looks further or writes through must show."""
        self.batches += 1
        external, owners, loaded = {}, {}, {}
        marks = {key: self.marks[key] for key in wanted.event_ids if key in self.marks}
        for key, contact in self.contacts.items():
            named = key in wanted.contact_ids
            if (key[0], contact.external_id) in wanted.external_ids:
                external[key[0], contact.external_id] = contact.id
                named = True
            for lookup in wanted.identifiers:
                for held, _ in contact.identifiers:
                    if (key[0], held.kind, held.identifier) == lookup:
                        owners.setdefault(lookup, {})[held.scope] = contact.id
                        named = True
            named = named or any((key[0], event.contact_id) == key for event in marks.values())
            if named:
                loaded[key] = contact.copy()
        answering = {key: key[1] for key in wanted.contact_ids if key in self.contacts}
        first = {key: self.outcomes[key] for key in wanted.message_ids if key in self.outcomes}
        at = START + timedelta(seconds=self.batches)
        return Loaded(at, first, answering, external, owners, loaded, marks)

    def _persist(self, changes: Changes) -> None:
        """As the statements do it: rows taken away, then rows added, the differences of tags."""
        stored = self.contacts
        taken = {
            (tenant, i.key, i.slot): i.id for (tenant, _), c in stored.items() for i in c.identifiers.values()
        }
        for tenant, gone in changes.identifiers_removed:
            assert taken.pop((tenant, gone.key, gone.slot)) == gone.id
        for tenant, moved in changes.identifiers_changed:
            (place,) = (at for at, id_ in taken.items() if id_ == moved.id)
            del taken[place]
            assert (tenant, moved.key, moved.slot) not in taken, "a unique key is violated"
            taken[tenant, moved.key, moved.slot] = moved.id
        for (tenant, _), new in changes.identifiers_added:
            assert (tenant, new.key, new.slot) not in taken, "a unique key is violated"
            taken[tenant, new.key, new.slot] = new.id
        for contact in changes.created:
            assert (contact.tenant_id, contact.id) not in stored
        for contact in changes.updated:
            assert contact.version > stored[contact.tenant_id, contact.id].version
        for contact in changes.touched:
            before = stored[contact.tenant_id, contact.id]
            assert loud(document(before)) == loud(document(contact)), "touched, but changed"
        for tenant, contact_id, name in changes.tags_removed:
            assert name in stored[tenant, contact_id].tags
        for contact in (*changes.created, *changes.updated, *changes.touched):
            stored[contact.tenant_id, contact.id] = contact
        rows = {(t, i.key, i.slot): i.id for (t, _), c in stored.items() for i in c.identifiers.values()}
        assert rows == taken, "identifiers' rows are not what contacts hold"
        ids = [c.external_id for c in stored.values() if c.external_id]
        assert len(ids) == len(set(ids)), "two contacts have an external id"
        for event in changes.events:
            self.timeline[event.tenant_id, event.id] = event
            self.marks[event.tenant_id, event.id] = state_of(event)
        for event in changes.events_marked:
            before = self.marks[event.tenant_id, event.id]
            assert replace(event, delivered_at=None, read_at=None, skipped=False) == replace(
                before, delivered_at=None, read_at=None
            )
            self.marks[event.tenant_id, event.id] = replace(event, skipped=False)
        for event in changes.events_deleted:
            del self.timeline[event.tenant_id, event.id]
            del self.marks[event.tenant_id, event.id]
        assert not changes.outcomes.keys() & self.outcomes.keys()
        self.outcomes |= changes.outcomes


def nth_id(sequence: int, n: int) -> uuid.UUID:
    """The n-th id that a message draws, so that another may name it: they rise in the order of the messages."""
    return uuid.UUID(int=sequence << 96 | 7 << 76 | 2 << 62 | n)


def records(messages: Sequence[Message]) -> list[Record]:
    """As the log holds them: the n-th has the id n, and the time n seconds after the start."""
    made = []
    for n, (kind, data) in enumerate(messages):
        stream = kind.partition(".")[0].upper()
        body = envelope.dump(
            Envelope(id=f"m{n}", source="test", type=kind, data=data, time=START + timedelta(seconds=n))
        )
        made.append(Record(stream, 0, n, f"{kind}.{TENANT}.k", {}, body, START + timedelta(seconds=n)))
    return made


def renamed(record: Record, id_: str) -> Record:
    """The same in an envelope with another id."""
    return replace(record, data=orjson.dumps({**orjson.loads(record.data), "id": id_}))


def run(log: Sequence[Record], sizes: Sequence[int] = (1,)) -> World:
    """Fold the log in batches of these sizes, over and over; a batch ends where the stream does."""
    world, left = World(), list(log)
    for size in itertools.cycle(sizes):
        if not left:
            return world
        batch = list(itertools.takewhile(lambda r, s=left[0].stream: r.stream == s, left[:size]))
        del left[: len(batch)]
        world.apply(batch)
    return world


def canonical(world: World) -> Any:
    """State and events as JSON, with ids named by where they first appear and moments of the clock left out."""
    names: dict[str, str] = {}

    def named(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: named(v, k) for k, v in value.items() if k not in MOMENTS}
        if isinstance(value, list):
            return [named(v, key) for v in value]
        if key in ("deleted_at", "delivered_at", "read_at"):
            return value is not None
        if isinstance(value, str):
            for part in value.split():
                if _is_uuid(part):
                    value = value.replace(part, names.setdefault(part, f"#{len(names)}"))
        return value

    state = [document(c) for c in world.contacts.values()] + [asdict(e) for e in world.marks.values()]
    outcomes = sorted((key.digest.hex(), json.loads(text)) for key, text in world.outcomes.items())
    return named(orjson.loads(orjson.dumps([world.events, state, outcomes], default=str)))


def _is_uuid(text: str) -> bool:
    try:
        return len(text) == 36 and bool(uuid.UUID(text))
    except ValueError:
        return False
