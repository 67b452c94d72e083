"""Which index is live, which one is being built, and the rebuilds that were asked for: search_state, search_rebuilds.

Invariants:

- Elasticsearch is never asked which index to write to: an indexer that slept through a rebuild learns it here.
- ``next`` is committed before the rebuild reads its first contact. Whoever read contacts, and after that read ``next`` as
  None, read them earlier than the rebuild will.
- A rebuild is worked on by whoever holds its lease. ``claim`` gives every holder a name of its own, so a holder that slept
  past its lease fails at its next step, even where an instance of the same name took over.
- ``caught_up_at``, ``caught_up_sequence``: what the stream of events got before that time, which is what it holds up to
  that sequence, is in the live index, but for documents that it refuses and for what ``incomplete_since`` says; and so in the
  next one once that is filled. The sequence is None after a rebuild that nobody has indexed beside.
- ``incomplete_since``: then it was found that the live index lacks changes that no event brings any more. An index that was
  begun later has them.

All of it as the writer role, by the database's clock.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import asyncpg

from storage.contacts import ContactKey
from storage.ids import uuid7

Status = Literal["waiting", "running", "done", "failed"]
ERROR = 1000  # characters of an error that are kept


class State(NamedTuple):
    """Names of indexes; None: there is none."""

    live: str | None
    next: str | None
    caught_up_at: datetime | None
    caught_up_sequence: int | None
    incomplete_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A rebuild that is held. ``tenant`` None: of all tenants, into ``index`` (None: not made yet), from after ``position``."""

    id: uuid.UUID
    tenant: str | None
    holder: str
    index: str | None
    total: int | None
    done: int
    position: ContactKey | None


@dataclass(frozen=True, slots=True)
class Rebuild:
    """A rebuild as it is shown."""

    id: uuid.UUID
    tenant: str | None
    status: Status
    total: int | None
    done: int
    error: str | None
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    finished_at: datetime | None


class LeaseLost(Exception):
    """Someone else holds the rebuild now, or it has ended: stop working on it."""


READ = "select live_index, next_index, caught_up_at, caught_up_sequence, incomplete_since from search_state"

CAUGHT_UP = "update search_state set caught_up_at = $1, caught_up_sequence = $2"

# By whoever notices first: the next one may find that a rebuild has begun, which has them.
LOST = """
update search_state set incomplete_since = clock_timestamp(), caught_up_at = $1, caught_up_sequence = $2
where caught_up_at is not distinct from $3 and caught_up_sequence is not distinct from $4
"""

OUTDATED = "update search_state set incomplete_since = clock_timestamp() where live_index is not null"

SET_BACK = "update search_state set incomplete_since = clock_timestamp() where incomplete_since is null"

UNFINISHED = """
select tenant_id, id from search_rebuilds
where status in ('waiting', 'running') and coalesce(tenant_id, '') = any($1::text[])
"""

INSERT = """
insert into search_rebuilds (id, tenant_id, status, created_at, updated_at)
select k.id, nullif(k.tenant_id, ''), 'waiting', clock_timestamp(), clock_timestamp()
from unnest($1::text[], $2::uuid[]) as k(tenant_id, id)
on conflict (coalesce(tenant_id, '')) where status in ('waiting', 'running') do nothing
returning id
"""

# A rebuild of everything goes first: without a live index there is nothing to rebuild a tenant in.
CLAIM = """
update search_rebuilds as r set status = 'running', owner = $1, lease_until = clock_timestamp() + $2::interval,
    started_at = coalesce(r.started_at, clock_timestamp()), updated_at = clock_timestamp()
where r.id = (
    select id from search_rebuilds
    where (status = 'waiting' or status = 'running' and lease_until <= clock_timestamp())
        and (tenant_id is null or exists (select from search_state where live_index is not null))
        and ($3::uuid is null or id = $3)
    order by tenant_id is not null, created_at, id limit 1 for update skip locked
)
returning r.id, r.tenant_id, r.index_name, r.total, r.done, r.position_tenant, r.position_id
"""

_HELD = "id = $1 and owner = $2 and status = 'running'"

HEARTBEAT = f"""
update search_rebuilds set lease_until = clock_timestamp() + $3::interval where {_HELD} returning id
"""

PROGRESS = f"""
update search_rebuilds set lease_until = clock_timestamp() + $3::interval, updated_at = clock_timestamp(),
    done = $4, total = $5, position_tenant = $6, position_id = $7
where {_HELD} returning id
"""

BEGIN_INDEX = f"""
with held as (
    update search_rebuilds set index_name = $3, done = 0, position_tenant = null, position_id = null,
        started_at = clock_timestamp(), updated_at = clock_timestamp()
    where {_HELD} and tenant_id is null returning id
)
update search_state set next_index = $3 from held returning held.id
"""

# Everything that was committed before the index was begun is in it.
GO_LIVE = f"""
with held as (
    update search_rebuilds set updated_at = clock_timestamp()
    where {_HELD} and tenant_id is null and index_name is not null returning id, index_name, started_at
)
update search_state set live_index = held.index_name, next_index = null,
    caught_up_at = greatest(caught_up_at, held.started_at),
    caught_up_sequence = case when caught_up_at >= held.started_at then caught_up_sequence end,
    incomplete_since = case when incomplete_since >= held.started_at then incomplete_since end
from held returning held.id
"""

FINISH = f"""
update search_rebuilds set status = 'done', owner = null, lease_until = null, error = null,
    updated_at = clock_timestamp(), finished_at = clock_timestamp()
where {_HELD} returning id
"""

FAIL = f"""
with held as (
    update search_rebuilds set status = 'failed', owner = null, lease_until = null, error = $3,
        updated_at = clock_timestamp(), finished_at = clock_timestamp()
    where {_HELD} returning id, index_name
), given_up as (
    update search_state set next_index = null from held where next_index = held.index_name
)
select id from held
"""

RELEASE = f"""
update search_rebuilds set lease_until = '-infinity', error = $3, updated_at = clock_timestamp()
where {_HELD} returning id
"""

LIST = """
select id, tenant_id, status, total, done, error, created_at, started_at, updated_at, finished_at
from search_rebuilds where tenant_id is not distinct from $1 order by created_at desc, id desc limit $2
"""


async def read(connection: asyncpg.Connection) -> State:
    row = await connection.fetchrow(READ)
    assert row is not None
    return State(*row)


async def caught_up(connection: asyncpg.Connection, at: datetime, sequence: int) -> None:
    """Record up to when, and to which sequence, the live index has what the stream has, as whoever looked last has found it."""
    await connection.execute(CAUGHT_UP, at, sequence)


async def lost(connection: asyncpg.Connection, known: State, at: datetime, sequence: int) -> None:
    """Record that events after those that were ``known`` are gone unread, and, as ``caught_up`` does, from where none are."""
    await connection.execute(LOST, at, sequence, known.caught_up_at, known.caught_up_sequence)


async def outdated(connection: asyncpg.Connection) -> None:
    """Record that the live index, if there is one, has documents of the present versions that are not what they should be."""
    await connection.execute(OUTDATED)


async def set_back(connection: asyncpg.Connection) -> None:
    """Record that the live index has versions that the database has not, as after a restore: it refuses what changes."""
    await connection.execute(SET_BACK)


# -- asking for rebuilds


async def unfinished(
    connection: asyncpg.Connection, tenants: Iterable[str | None]
) -> dict[str | None, uuid.UUID]:
    """The rebuilds of these tenants (None: of all) that have not ended, by tenant."""
    rows = await connection.fetch(UNFINISHED, sorted(tenant or "" for tenant in tenants))
    return {row["tenant_id"]: row["id"] for row in rows}


async def insert(connection: asyncpg.Connection, asked: Collection[tuple[str | None, uuid.UUID]]) -> bool:
    """Write new rebuilds; False when someone else asked for one of them meanwhile, and so not all were written."""
    in_order = sorted((tenant or "", job) for tenant, job in asked)
    rows = await connection.fetch(INSERT, [tenant for tenant, _ in in_order], [job for _, job in in_order])
    return len(rows) == len(in_order)


async def request(connection: asyncpg.Connection, tenant: str | None) -> uuid.UUID:
    """Ask for a rebuild of a tenant, or (None) of everything; one that has not ended is answered again."""
    while True:
        found = await unfinished(connection, [tenant])
        if tenant in found:
            return found[tenant]
        job = uuid7()
        if await insert(connection, [(tenant, job)]):
            return job


async def rebuilds(connection: asyncpg.Connection, tenant: str | None, limit: int = 10) -> list[Rebuild]:
    """The rebuilds of a tenant, or (None) of everything, newest first."""
    return [Rebuild(*row) for row in await connection.fetch(LIST, tenant, limit)]


# -- working on one


async def claim(
    connection: asyncpg.Connection, owner: str, lease_seconds: float, job: uuid.UUID | None = None
) -> Job | None:
    """Hold the next rebuild that nobody works on, or that one; None where there is none. Never waits."""
    holder = f"{owner}/{secrets.token_hex(4)}"
    row = await connection.fetchrow(CLAIM, holder, timedelta(seconds=lease_seconds), job)
    if row is None:
        return None
    at = None if row["position_id"] is None else (row["position_tenant"], row["position_id"])
    return Job(row["id"], row["tenant_id"], holder, row["index_name"], row["total"], row["done"], at)


async def heartbeat(connection: asyncpg.Connection, job: Job, lease_seconds: float) -> None:
    """Hold the rebuild for longer. Raises LeaseLost."""
    _held(await connection.fetchval(HEARTBEAT, job.id, job.holder, timedelta(seconds=lease_seconds)))


async def progress(
    connection: asyncpg.Connection,
    job: Job,
    lease_seconds: float,
    *,
    done: int,
    total: int | None,
    position: ContactKey | None,
) -> None:
    """Say how far it is, and hold it for longer. Raises LeaseLost."""
    tenant, contact_id = position or (None, None)
    span = timedelta(seconds=lease_seconds)
    _held(await connection.fetchval(PROGRESS, job.id, job.holder, span, done, total, tenant, contact_id))


async def begin_index(connection: asyncpg.Connection, job: Job, index: str) -> None:
    """From now on every change is written to this index too; the rebuild of everything begins anew in it. Raises LeaseLost."""
    _held(await connection.fetchval(BEGIN_INDEX, job.id, job.holder, index))


async def go_live(connection: asyncpg.Connection, job: Job) -> None:
    """The index of a rebuild of everything is the live one; what is left is to drop the old one. Raises LeaseLost."""
    _held(await connection.fetchval(GO_LIVE, job.id, job.holder))


async def finish(connection: asyncpg.Connection, job: Job) -> None:
    """The rebuild is done. Raises LeaseLost."""
    _held(await connection.fetchval(FINISH, job.id, job.holder))


async def fail(connection: asyncpg.Connection, job: Job, error: str) -> None:
    """The rebuild has ended in an error that trying again will not mend; its index gets no more writes. Raises LeaseLost."""
    _held(await connection.fetchval(FAIL, job.id, job.holder, error[:ERROR]))


async def release(connection: asyncpg.Connection, job: Job, error: str | None = None) -> None:
    """Let go of the rebuild where it is, for anyone to go on with. Raises LeaseLost."""
    _held(await connection.fetchval(RELEASE, job.id, job.holder, error and error[:ERROR]))


def _held(answer: uuid.UUID | None) -> None:
    if answer is None:
        raise LeaseLost
