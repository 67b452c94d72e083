"""What the planner makes of the timeline's statements, on a table that holds enough rows for it to care.

The queries run as the read role, below the tenant policy; what looks events up by their ids runs as the writer.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Executable
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement

from contracts.registry import QUERIES
from storage import marks, retention
from storage.postgres import READER, WRITER, connect, engine
from storage.reads.session import Reads, TenantReads
from workers.exports import export as exports
from workers.queries.handlers import HANDLERS
from workers.queries.handlers.context import Context

TENANT = "tenant1"  # of four
CONTACTS = """
insert into contacts (tenant_id, id, created_at, updated_at, version, timeline_sequence)
select 'tenant' || t, md5(t || ':' || n)::uuid, now(), now(), 1, 0 from generate_series(0, 3) t, generate_series(0, 299) n
"""
# 60,000 in all, spread over every partition that there is.
EVENTS = """
insert into contact_events (tenant_id, id, contact_id, sequence, contact_version, session_id, type, category, priority,
    title, payload, metadata, source, realtime, delivered_at, visible_to_client, visible_to_agent, expires_at, occurred_at,
    created_at)
select 'tenant' || n % 4, (lpad(to_hex(n), 8, '0') || left(md5(n::text), 24))::uuid, md5(n % 4 || ':' || n / 4 % 300)::uuid, n, 1,
    case when n % 10 = 1 then 's' || n % 200 end,
    case when n % 7 = 1 then 'notification_sent' else 'sms_received' end,
    case when n % 7 = 1 then 'notification' else 'general' end,
    'normal', 'Title ' || n, jsonb_build_object('text', 'words ' || n), '{}', 'system', n % 7 = 1,
    case when n % 3 = 1 then now() end, n % 7 = 1, true, case when n % 35 = 1 then now() + n * interval '1 second' end,
    now() - n * interval '1 minute', date_trunc('month', now()) + (n % 5 - 1) * interval '1 month'
from generate_series(1, 60000) n
"""
EMPTY = """
select relid::regclass::text from pg_partition_tree('contact_events') where isleaf
except select tableoid::regclass::text from contact_events
"""
CONTACT = {"contact": {"id": str(uuid.UUID(hashlib.md5(b"1:5").hexdigest()))}}
SINCE = {"since": (datetime.now(UTC) - timedelta(days=20)).isoformat()}
CLIENT = {"visible_to": "client"}


class _Explain(Executable, ClauseElement):
    inherit_cache = False

    def __init__(self, statement: Any) -> None:
        self.statement = statement


@compiles(_Explain)
def _explained(element: _Explain, compiler: SQLCompiler, **options: Any) -> str:
    return "explain (costs off) " + compiler.process(element.statement, **options)


class Plans:
    """The plans of everything that is read of timelines, as the read role makes them."""

    def __init__(self, reads: Reads, indexes: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._context = Context(TENANT, None, None, reads, 1_000_000)  # type: ignore[arg-type]
        self._indexes = indexes
        self._plans: list[str] = []
        execute = TenantReads._execute

        async def explained(reads: TenantReads, statement: Executable, parameters: dict[str, Any]) -> Any:
            lines = await execute(reads, _Explain(statement), parameters)
            self._plans.append("\n".join(line for (line,) in lines))
            return await execute(reads, statement, parameters)

        monkeypatch.setattr(TenantReads, "_execute", explained)

    async def of(self, name: str, **fields: Any) -> list[str]:
        """Of a query's first page, and of its second one where there is one."""
        self._plans.clear()
        answer = await HANDLERS[name](self._context, QUERIES[name].request.model_validate(fields))
        assert answer.data, "an empty answer says nothing"
        if cursor := answer.meta.get("next_cursor"):
            await HANDLERS[name](
                self._context, QUERIES[name].request.model_validate({**fields, "cursor": cursor})
            )
        return [plan for plan in self._plans if "contact_events" in plan]

    async def of_export(self, contact_id: uuid.UUID) -> list[str]:
        """Of every page of a contact's export."""
        self._plans.clear()
        async for _ in await exports.export(self._context._reads, TENANT, contact_id, "csv"):
            pass
        found = [plan for plan in self._plans if "contact_events" in plan]
        assert len(found) > 1
        return found

    def indexes(self, plan: str) -> set[str]:
        return indexes_in(plan, self._indexes)


def indexes_in(plan: str, parents: dict[str, str]) -> set[str]:
    """The indexes of contact_events that a plan uses, by their names on the whole table."""
    assert "Seq Scan on contact_events" not in plan, plan
    return {name.removeprefix("contact_events_") for name in _parents(plan, parents)}


def _parents(plan: str, parents: dict[str, str]) -> set[str]:
    found = re.findall(
        r"(?:Index Scan|Index Only Scan|Index Scan Backward) (?:using|on) (contact_events\w+)", plan
    )
    return {parents[name] for name in found if name in parents}


@pytest.fixture(scope="module")
async def filled(database: str) -> AsyncIterator[asyncpg.Connection]:
    owner = await asyncpg.connect(database)
    for statement in (CONTACTS, EVENTS, "analyze contacts, contact_events"):
        await owner.execute(statement)
    assert await owner.fetch(EMPTY) == []
    yield owner
    await owner.close()


async def parents_of(owner: asyncpg.Connection) -> dict[str, str]:
    """By the name of a partition's index: the whole table's."""
    rows = await owner.fetch(
        "select inhrelid::regclass::text, inhparent::regclass::text from pg_inherits join pg_index on indexrelid = inhrelid"
    )
    return {row[0]: row[1] for row in rows}


@pytest.fixture
async def plans(
    database: str, filled: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Plans]:
    connections = engine(database, READER, size=1)
    yield Plans(Reads(connections), await parents_of(filled), monkeypatch)
    await connections.dispose()


@pytest.mark.parametrize(
    ("name", "fields", "index"),
    [
        ("contact.timeline", {**CONTACT}, "contact_idx"),
        ("contact.timeline", {**CONTACT, **CLIENT}, "visible_idx"),
        ("timeline.undelivered", {**CONTACT}, "undelivered_idx"),
        ("timeline.search", {**CONTACT, "q": "Words 1"}, "contact_idx"),
        ("timeline.count", {**CONTACT}, "contact_idx"),
        ("timeline.count", {**CONTACT, **CLIENT}, "visible_idx"),
    ],
)
async def test_a_contacts_events_are_read_off_an_index(
    plans: Plans, name: str, fields: dict[str, Any], index: str
) -> None:
    for plan in await plans.of(name, **fields):
        assert plans.indexes(plan) == {index}, plan


@pytest.mark.parametrize(
    ("name", "fields", "index"),
    [
        ("timeline.undelivered", {}, "waiting_idx"),
        ("timeline.session", {"session_id": "s1"}, "session_idx"),
        ("timeline.by_type", {"type": "sms_received"}, "type_idx"),
        ("timeline.by_type", {"type": "sms_received", **SINCE}, "type_idx"),
        ("timeline.by_category", {"category": "notification"}, "category_idx"),
        ("timeline.by_category", {"category": "general", **SINCE}, "category_idx"),
        ("timeline.search", {"q": "words"}, "pkey"),
        ("timeline.search", {"q": "words 1", **SINCE}, "pkey"),
    ],
)
async def test_the_tenants_events_are_read_in_order_and_no_further_than_the_page(
    plans: Plans, name: str, fields: dict[str, Any], index: str
) -> None:
    first, second = await plans.of(name, **fields, limit=10)
    for plan in (first, second):
        assert plans.indexes(plan) == {index}, plan
        assert "Merge Append" in plan
        assert not re.search(r"(?<!Incremental )Sort\n", plan), plan


async def test_what_expired_is_found_by_when(database: str, filled: asyncpg.Connection) -> None:
    writer = await connect(database, WRITER)
    rows = await writer.fetch(f"explain (costs off) {retention.DELETE_EXPIRED}", retention.EXPIRED_FOR, 500)
    await writer.close()
    plan = "\n".join(row[0] for row in rows)
    assert "expiring_idx" in {
        name.removeprefix("contact_events_") for name in _parents(plan, await parents_of(filled))
    }
    assert "Seq Scan on contact_events" not in plan, plan


async def test_an_export_is_read_on_from_its_place(plans: Plans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "PAGE", 10)
    for plan in await plans.of_export(uuid.UUID(CONTACT["contact"]["id"])):
        assert plans.indexes(plan) == {"contact_idx"}, plan
        assert "Merge Append" in plan, plan


@pytest.mark.parametrize("statement", ["FIND", "READ", "MARK", "DELETE"])
async def test_an_event_is_looked_up_by_its_key_even_where_a_partition_is_empty(
    database: str, filled: asyncpg.Connection, statement: str
) -> None:
    """A plan that was made at the turn of a month is kept while the month's partition fills."""
    await filled.execute("select rollcall_make_event_partitions(4)")
    assert len(await filled.fetch(EMPTY)) == 1
    writer = await connect(database, WRITER)
    text = getattr(marks, statement)
    moments: list[datetime] = []
    arguments = [["a"], [uuid.uuid4()], moments, moments, moments, [True]]
    rows = await writer.fetch(f"explain (costs off) {text}", *arguments[: text.count("[]")])
    await writer.close()
    plan = "\n".join(row[0] for row in rows)
    assert indexes_in(plan, await parents_of(filled)) == {"pkey"}, plan
