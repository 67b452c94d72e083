"""What the planner makes of the read side under the tenant policy.

Below a policy only expressions that cannot leak serve as index keys; one that the planner takes for leaky means reading the
whole tenant for one contact, which no test of answers would notice.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from storage.postgres import READER, connect
from storage.reads.contacts import _FIND, ByExternalId, ById, ByIdentifier, Name


@pytest.fixture(scope="module")
async def reader(database: str) -> AsyncIterator[asyncpg.Connection]:
    """Bound to tenant a, which has 20,000 contacts."""
    owner = await asyncpg.connect(database)
    await owner.execute(
        "insert into contacts (tenant_id, id, external_id, display_name, created_at, updated_at, version, timeline_sequence) "
        "select 'a', gen_random_uuid(), n, n, now() + n * interval '1 second', now() + n * interval '1 second', 1, 0 "
        "from generate_series(1, 20000) n"
    )
    await owner.execute("analyze contacts")
    await owner.close()
    connection = await connect(database, READER)
    await connection.execute("select set_config('rollcall.tenant', 'a', false)")
    yield connection
    await connection.close()


async def explain(reader: asyncpg.Connection, statement: str, *values: Any) -> str:
    return "\n".join(row[0] for row in await reader.fetch(f"explain {statement}", *values))


@pytest.mark.parametrize("kind", [ById, ByExternalId, ByIdentifier])
async def test_a_name_is_followed_through_indexes(reader: asyncpg.Connection, kind: type[Name]) -> None:
    values = {"tenant": "a", "id": uuid.uuid4(), "kind": "phone", "include_deleted": False, "slot_1": 0}
    statement = _FIND[kind, True].compile(dialect=PGDialect_asyncpg())
    plan = await explain(
        reader, str(statement), *(values.get(name, "x") for name in statement.positiontup or ())
    )
    assert re.search(r"on contacts\b.*\n *Index Cond: .*\bid = CASE WHEN", plan), plan
    assert "Seq Scan on contacts" not in plan, plan


@pytest.mark.parametrize(
    ("order", "where"),
    [
        ("created_at desc, id desc", "(created_at, id) < ($1, $2)"),
        ("updated_at, id", "(updated_at, id) > ($1, $2)"),
        ("display_name desc, id desc", "(display_name, id) < ('x', $2) and $1::timestamptz is not null"),
    ],
)
async def test_a_deep_page_starts_at_its_cursor(reader: asyncpg.Connection, order: str, where: str) -> None:
    plan = await explain(
        reader,
        f"select id from contacts where tenant_id = 'a' and {where} order by {order} limit 20",
        datetime.fromisoformat("2026-01-01T01:00:00Z"),
        uuid.uuid4(),
    )
    assert "Sort" not in plan, plan
    assert re.search(r"Index Cond: .*ROW\(", plan), plan
