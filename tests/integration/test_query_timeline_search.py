"""timeline.search: what is found, of a contact and of a tenant, and what takes too long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from contracts.queries import TimelineSearch
from storage.postgres import engine
from storage.reads.session import Reads
from tests.helpers import seed
from tests.helpers.asker import Asker
from tests.helpers.tenant import Tenant
from workers.queries.handlers import timeline
from workers.queries.handlers.answer import Refusal
from workers.queries.handlers.context import Context

NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("columns", "q"),
    [
        ({"title": "Called back"}, "called"),
        ({"title": "Called back"}, "ED BA"),
        ({"description": "Wants a quote, soon."}, "QUOTE"),
        ({"payload": {"text": "Über den Fluß"}}, "üBER"),
        ({"payload": {"a": [1, {"b": ["deep Down"]}]}}, "deep down"),
        ({"payload": {"a": "100% sure_of it"}}, "100% SURE_"),
        ({"payload": {"a": 'says "no" \\ maybe'}}, '"no" \\ may'),
        ({"payload": {"a": "one\ntwo\tthree"}}, "one\ntwo\tTHREE"),
        ({"payload": {"a": "sign: 😀"}}, "😀"),
        ({"description": "(a|b)*.{2}[^x]$"}, "(A|B)*.{2}[^X]$"),
        ({"title": "***:x"}, "***:x"),
        ({"title": "it's $1"}, "it's $1"),
    ],
)
@pytest.mark.parametrize("of_contact", [True, False])
async def test_a_piece_of_a_text_is_found(
    tenant: Tenant, columns: dict[str, Any], q: str, of_contact: bool
) -> None:
    found = await tenant.event(**columns)
    await tenant.event(title="Something else")
    named = {"contact": {"id": str(tenant.contact)}} if of_contact else {}
    assert await tenant.ids("timeline.search", q=q, **named) == [found]


@pytest.mark.parametrize(
    ("columns", "q"),
    [
        ({"title": "Called back"}, "C%d"),
        ({"title": "Called back"}, "Calle_"),
        ({"title": "Called back"}, "C.*d"),
        ({"title": "Called back"}, "back called"),
        ({"payload": {"needle": "value"}}, "needle"),
        ({"payload": {"a": {"needle": 1}}}, "needle"),
        ({"payload": {"a": 12345}}, "234"),
        ({"payload": {"a": True}}, "true"),
        ({"payload": {"a": "x", "b": "y"}}, '"a"'),
        ({"metadata": {"a": "needle"}}, "needle"),
        ({"type": "needle", "session_id": "needle", "triggered_by": "needle"}, "needle"),
    ],
)
async def test_other_things_are_not(tenant: Tenant, columns: dict[str, Any], q: str) -> None:
    await tenant.event(**columns)
    assert await tenant.ids("timeline.search", q=q) == []
    assert await tenant.ids("timeline.search", q=q, contact={"id": str(tenant.contact)}) == []


async def test_a_contacts_are_its_own_newest_first(tenant: Tenant) -> None:
    other, merged = await tenant.another(), await tenant.another(merged_into=tenant.contact)
    late = await tenant.event(title="needle", occurred_at=seed.at(9))
    early = await tenant.event(title="needle", occurred_at=seed.at(1))
    theirs = await tenant.event(merged, title="needle", occurred_at=seed.at(5))
    foreign = await tenant.event(other, title="needle", occurred_at=seed.at(6))
    named = {"contact": {"id": str(merged)}}
    answer = await tenant.ask("timeline.search", q="needle", **named)
    assert [event["id"] for event in answer["data"]] == [late, theirs, early]
    assert answer["meta"]["redirected_from"] == str(merged)
    since = {"since": seed.at(5).isoformat()}
    assert await tenant.ids("timeline.search", q="needle", **named, **since) == [late, theirs]
    assert await tenant.ids("timeline.search", q="needle") == [foreign, theirs, early, late]
    assert await tenant.walk("timeline.search", q="needle", limit=1) == [foreign, theirs, early, late]


async def test_the_tenants_since_bounds_what_happened_and_what_was_written(tenant: Tenant) -> None:
    day, moment = timedelta(days=1), NOW - timedelta(days=10)

    async def event(happened: int, written: int) -> str:
        columns = {"occurred_at": moment + happened * day, "created_at": moment + written * day}
        return await tenant.event(title="needle", **columns)

    both = await event(1, 1)
    await event(-1, 1)
    await event(1, -1)
    at_once = await event(0, 0)
    found = await tenant.ids("timeline.search", q="needle", since=moment.isoformat())
    assert found == [at_once, both]


async def test_a_client_that_names_another_tenants_contact_finds_nothing(ask: Asker, tenant: Tenant) -> None:
    await tenant.event(title="needle")
    assert await ask.data("timeline.search", "elsewhere", q="needle") == []


async def test_what_takes_too_long_says_how_to_narrow_it(
    database: str, tenant: Tenant, writer: asyncpg.Connection
) -> None:
    payload = {"lines": ["x" * 2000 for _ in range(200)]}
    for _ in range(30):
        await tenant.event(payload=payload)
    connections = engine(database, size=1)
    context = Context(tenant.name, None, None, Reads(connections, timeout=0.001), 1_000_000)  # type: ignore[arg-type]
    with pytest.raises(Refusal) as refused:
        await timeline.search(context, TimelineSearch(q="needle"))
    await connections.dispose()
    assert refused.value.code == "timeout"
    assert refused.value.message == "the search took too long; narrow it by since or contact"
