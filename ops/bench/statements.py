"""Statements a batch, counted by the server: they must not grow with the messages in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg

from contracts import subjects
from contracts.envelope import Envelope, dump, new_id
from ops.bench.workload import body, person, status, subject, text
from ops.settings import Settings
from storage.postgres import WRITER, connect
from workers import contacts, inbox
from workers.engine.batch import Batch, decode
from workers.engine.breaker import Breaker
from workers.engine.record import Processor, Record
from workers.engine.unit import Unit

SIZES = (1, 50, 500)
COUNT = """
select coalesce(sum(calls), 0)::int from pg_stat_statements s join pg_roles r on r.oid = s.userid
where r.rolname = 'rollcall_writer' and query not ilike '%pg_stat_statements%'
"""


async def count(dsn: str, stream: str) -> dict[str, int]:
    """Statements of a batch of 1, 50 and 500 mixed messages of a stream, once everything is prepared."""
    owner = await asyncpg.connect(dsn)
    writer = await connect(dsn, WRITER, "bench")
    settings = Settings(nats_url="nats://localhost:4222", postgres_dsn=dsn)
    processor: Processor[Any] = (inbox if stream == "WEBHOOK" else contacts).processor(settings)
    unit: Unit[Any] = Unit(stream, processor, Breaker())
    created = datetime.now(UTC)
    counts: dict[str, int] = {}
    position = 0
    try:
        await owner.execute("create extension if not exists pg_stat_statements")
        await owner.execute(
            "insert into cursors (stream, partition, stream_created, sequence) values ($1, 0, $2, 0)",
            stream,
            created,
        )
        for size in (1, 500, *SIZES):  # the first two prepare
            events = await _events(owner)
            records = [_record(stream, position + n + 1, created, events) for n in range(size)]
            batch: Batch[Any] = Batch([decode(processor, record) for record in records])
            before = await owner.fetchval(COUNT)
            await unit.commit(writer, created, {0: position}, batch)
            counts[str(size)] = await owner.fetchval(COUNT) - before
            position += size
    finally:
        await writer.close()
        await owner.close()
    return {str(size): counts[str(size)] for size in SIZES}


async def _events(owner: asyncpg.Connection) -> dict[str, list[str]]:
    """By tenant: ids of timeline events that are there, and one that is not."""
    events: dict[str, list[str]] = {}
    for row in await owner.fetch("select tenant_id, id::text from contact_events order by id"):
        events.setdefault(row["tenant_id"], [new_id()]).append(row["id"])
    return events


def _record(stream: str, n: int, at: datetime, events: Mapping[str, Sequence[str]]) -> Record:
    who = person(n % 400 + n // 400 * 300)  # some known from earlier batches, some new
    if stream == "WEBHOOK":
        change = status(who, n, "read") if n % 3 == 0 else text(who, n)
        return Record(stream, 0, n, subject(who), {}, body(who, f"statements-{n}", change), at)
    name, data = _command(n, who.number, events.get(who.tenant, [new_id()]))
    message = Envelope(new_id(), "bench", f"command.{name}", data, at)
    return Record(stream, 0, n, subjects.command(name, who.tenant), {}, dump(message), at)


def _command(n: int, number: str, events: Sequence[str]) -> tuple[str, dict[str, object]]:
    about = {"channel": "sms", "identifier": "+" + number}
    some: dict[str, object] = {"event_ids": [events[(n + k) % len(events)] for k in range(3)]}
    kinds: tuple[tuple[str, dict[str, object]], ...] = (
        ("contact.upsert", {"phone": "+" + number, "first_name": f"Name {n}", "tags": ["a", f"tag {n % 7}"]}),
        ("contact.update", {"contact": about, "set": {"attributes": {"n": n}, "tags": [f"tag {n % 5}"]}}),
        ("identifier.add", {"contact": about, "channel": "email", "identifier": f"n{n}@example.com"}),
        ("timeline.record", {"contact": about, "type": "note_added", "payload": {"n": n}}),
        ("timeline.record_many", {"contact": about, "events": [{"type": "note_added"}, {"type": "x"}, {}]}),
        ("timeline.mark_delivered", some),
        ("timeline.mark_read", some),
        ("timeline.delete", {"event_ids": [events[n % len(events)]]}),
    )
    return kinds[n % len(kinds)]
