"""The handlers, folded without I/O in batches of any size, do what the model says."""

from __future__ import annotations

import itertools
import json
import uuid
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import workers.apply
import workers.contacts
import workers.inbox
from ops.settings import Settings
from storage.batch import Changes, Loaded, Wanted
from storage.inbox import SeenKey
from storage.outbox import OutboundEvent
from storage.rows import Contact
from tests.faults.compare import compare
from tests.faults.evidence import Evidence
from tests.faults.traffic import Traffic
from tests.model.decode import Accepted
from tests.model.fold import Model
from workers.directory import Directory
from workers.effects import document
from workers.engine.record import Record

NOW = datetime(2026, 4, 1, tzinfo=UTC)
SETTINGS = Settings(nats_url="nats://nowhere:4222", postgres_dsn="postgresql://nobody@nowhere/none")


class Memory:
    """What the tables hold between two batches."""

    def __init__(self) -> None:
        self.contacts: dict[tuple[str, uuid.UUID], Contact] = {}
        self.outcomes: dict[SeenKey, str] = {}
        self.timeline: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def load(self, wanted: Wanted) -> Loaded:
        """Only what the batch asked for: a handler that looks further must fail."""
        owners: dict = {}
        contacts: dict = {}
        external: dict = {}
        answering: dict = {}
        for (tenant, contact_id), contact in self.contacts.items():
            found = (tenant, contact_id) in wanted.contact_ids
            if found:
                answering[tenant, contact_id] = contact_id
            if (tenant, contact.external_id) in wanted.external_ids:
                external[tenant, contact.external_id] = contact_id
                found = True
            for lookup in wanted.identifiers:
                for key, _ in contact.identifiers:
                    if (tenant, key.kind, key.identifier) == lookup:
                        owners.setdefault(lookup, {})[key.scope] = contact_id
                        found = True
            if found:
                contacts[tenant, contact_id] = contact.copy()
        seen = {key: self.outcomes[key] for key in wanted.message_ids if key in self.outcomes}
        return Loaded(NOW, seen, answering, external, owners, contacts)

    def persist(self, changes: Changes) -> None:
        for contact in [*changes.created, *changes.updated, *changes.touched]:
            self.contacts[contact.tenant_id, contact.id] = contact
        for event in changes.events:
            self.timeline[str(event.contact_id)].append({"id": event.id, "sequence": event.sequence})
        assert not changes.outcomes.keys() & self.outcomes.keys(), "an id is taken twice"
        self.outcomes.update(changes.outcomes)


def fold(accepted: list[Accepted], first: int, sizes: list[int]) -> Evidence:
    """The ``first`` messages in a batch of their own, the rest in batches of ``sizes``."""
    memory, events = Memory(), list[OutboundEvent]()
    processors = {
        "WEBHOOK": workers.inbox.processor(SETTINGS),
        "COMMAND": workers.contacts.processor(SETTINGS),
    }
    rest = list(accepted)
    for size in itertools.chain([first], itertools.cycle(sizes)):
        if not rest:
            break
        batch, rest = rest[:size], rest[size:]
        for stream, processor in processors.items():
            messages = [
                processor.decode(Record(stream, 0, m.sequence, m.subject, m.headers, m.body, m.time))
                for m in batch
                if m.stream == stream
            ]
            wanted = Wanted()
            for message in messages:
                wanted.message_ids.add(message.opened.seen_key)
                message.want(wanted)
            directory = Directory(memory.load(wanted))
            for message in messages:
                workers.apply._fold(directory, message, events, forged_replay=False)
            memory.persist(directory.changes())
    return evidence_of(accepted, memory, events)


def evidence_of(accepted: list[Accepted], memory: Memory, events: list[OutboundEvent]) -> Evidence:
    evidence = Evidence(accepted=accepted, timeline=dict(memory.timeline))
    evidence.events = [{**json.loads(e.payload), "stored_subject": e.subject} for e in events]
    for (tenant, contact_id), contact in memory.contacts.items():
        found = json.loads(json.dumps(document(contact), default=_plain))
        evidence.contacts[str(contact_id)] = {**found, "tenant": tenant}
    return evidence


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


@given(
    seed=st.integers(0, 10_000),
    people=st.integers(1, 12),
    steps=st.integers(1, 7),
    sizes=st.lists(st.integers(1, 80), min_size=1, max_size=6),
)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_batches_of_any_size(seed: int, people: int, steps: int, sizes: list[int]):
    """Within a batch the webhooks go before the commands: what comes of the traffic must not depend on it."""
    traffic = Traffic("acme", seed, people=people, steps=steps)
    drafts = [*traffic.prologue, *traffic.main]
    accepted = [
        Accepted(
            d.subject.partition(".")[0].upper(), n, d.subject, d.headers, d.body, NOW + timedelta(seconds=n)
        )
        for n, d in enumerate(drafts, start=1)
    ]
    evidence = fold(accepted, len(traffic.prologue), sizes)
    compare(evidence, Model().fold(accepted), replies_kept=False).check()
