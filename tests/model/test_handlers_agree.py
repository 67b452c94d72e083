"""The handlers, folded without I/O in batches of any size, do what the model says."""

from __future__ import annotations

import itertools
import json
import uuid
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import workers.contacts
import workers.fold.apply
import workers.inbox
from ops.settings import Settings
from storage.batch import Changes, Loaded, Wanted
from storage.inbox import SeenKey
from storage.marks import EventKey
from storage.outbox import OutboundEvent
from storage.rows import Contact, EventState
from tests.faults.compare import compare
from tests.faults.evidence import Evidence
from tests.faults.traffic import Traffic
from tests.model.build import Draft
from tests.model.decode import Accepted
from tests.model.fold import Model
from workers.engine.record import Record
from workers.fold.directory import Directory
from workers.fold.documents import document
from workers.fold.marks import state_of

NOW = datetime.now(UTC)  # notices expired yesterday
SETTINGS = Settings(nats_url="nats://nowhere:4222", postgres_dsn="postgresql://nobody@nowhere/none")


class Memory:
    """What the tables hold between two batches."""

    def __init__(self) -> None:
        self.contacts: dict[tuple[str, uuid.UUID], Contact] = {}
        self.outcomes: dict[SeenKey, str] = {}
        self.timeline: dict[EventKey, EventState] = {}

    def load(self, wanted: Wanted) -> Loaded:
        """Only what the batch asked for: a handler that looks further must fail."""
        owners: dict = {}
        contacts: dict = {}
        external: dict = {}
        answering: dict = {}
        events = {key: self.timeline[key] for key in wanted.event_ids if key in self.timeline}
        owning = {(event.tenant_id, event.contact_id) for event in events.values()}
        for (tenant, contact_id), contact in self.contacts.items():
            found = (tenant, contact_id) in wanted.contact_ids | owning
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
        return Loaded(NOW, seen, answering, external, owners, contacts, events)

    def persist(self, changes: Changes) -> None:
        for contact in [*changes.created, *changes.updated, *changes.touched]:
            self.contacts[contact.tenant_id, contact.id] = contact
        for event in changes.events:
            self.timeline[event.tenant_id, event.id] = state_of(event)
        for event in changes.events_marked:
            assert (event.tenant_id, event.id) in self.timeline
            self.timeline[event.tenant_id, event.id] = event
        for event in changes.events_deleted:
            del self.timeline[event.tenant_id, event.id]
        assert not changes.outcomes.keys() & self.outcomes.keys(), "an id is taken twice"
        self.outcomes.update(changes.outcomes)


class Fold:
    """Folds accepted messages, a batch after the other."""

    def __init__(self) -> None:
        self.accepted: list[Accepted] = []
        self.events: list[OutboundEvent] = []
        self._memory = Memory()
        self._processors = {
            "WEBHOOK": workers.inbox.processor(SETTINGS),
            "COMMAND": workers.contacts.processor(SETTINGS),
        }

    def take(self, drafts: list[Draft]) -> None:
        """A batch of each stream."""
        first = len(self.accepted) + 1
        batch = [
            Accepted(
                d.subject.partition(".")[0].upper(),
                n,
                d.subject,
                d.headers,
                d.body,
                NOW + timedelta(seconds=n),
            )
            for n, d in enumerate(drafts, first)
        ]
        self.accepted += batch
        for stream, processor in self._processors.items():
            messages = [
                processor.decode(Record(stream, 0, m.sequence, m.subject, m.headers, m.body, m.time))
                for m in batch
                if m.stream == stream
            ]
            wanted = Wanted()
            for message in messages:
                wanted.message_ids.add(message.opened.seen_key)
                message.want(wanted)
            directory = Directory(self._memory.load(wanted))
            for message in messages:
                workers.fold.apply._fold(directory, message, message.opened.seen_key, self.events)
            self._memory.persist(directory.changes())

    def evidence(self) -> Evidence:
        evidence = Evidence(accepted=self.accepted)
        evidence.events = [{**json.loads(e.payload), "stored_subject": e.subject} for e in self.events]
        for (tenant, contact_id), contact in self._memory.contacts.items():
            found = json.loads(json.dumps(document(contact), default=_plain))
            evidence.contacts[str(contact_id)] = {**found, "tenant": tenant}
        for event in self._memory.timeline.values():
            evidence.timeline.setdefault(str(event.contact_id), []).append(asdict(event))
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
    folding = Fold()
    folding.take(traffic.prologue)
    traffic.know({title: event_id for event_id, title in folding.evidence().titles().items()})
    rest = list(traffic.main)
    for size in itertools.cycle(sizes):
        if not rest:
            break
        folding.take(rest[:size])
        del rest[:size]
    evidence = folding.evidence()
    model = Model(titles=evidence.titles()).fold(evidence.accepted)
    compare(evidence, model, replies_kept=False).check()
