"""Who works on what: leases on the partitions of a stream or the shards of the relay, by the database's clock.

A lease saves work, it protects nothing: an owner that slept past its lease is stopped by the cursor (a relay by its
marker). So losing a race here costs a batch at most, and nothing waits for a lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

import asyncpg


class Beat(NamedTuple):
    """What a heartbeat found: the resources still owned, how many instances live, how many resources nobody owns."""

    owned: frozenset[int]
    instances: int
    free: int


ENSURE = """
insert into leases (name, resource, owner, expires_at)
select $1, r, '', '-infinity' from unnest($2::integer[]) as r
where not exists (select from leases where name = $1 and resource = r)
order by r
on conflict do nothing
"""

BEAT = """
with instance as (
    insert into lease_instances (name, owner, expires_at) values ($1, $2, clock_timestamp() + $3::interval)
    on conflict (name, owner) do update set expires_at = excluded.expires_at
), renewed as (
    update leases set expires_at = clock_timestamp() + $3::interval where name = $1 and owner = $2
    returning resource
)
select coalesce((select array_agg(resource) from renewed), '{}') as owned,
    (select count(*) from lease_instances where name = $1 and owner <> $2 and expires_at > clock_timestamp()) + 1
        as instances,
    (select count(*) from leases where name = $1 and owner <> $2 and expires_at <= clock_timestamp()) as free
"""

CLAIM = """
with free as materialized (
    select resource, owner from leases where name = $1 and owner <> $2 and expires_at <= clock_timestamp()
    order by resource limit $4 for update skip locked
)
update leases as l set owner = $2, expires_at = clock_timestamp() + $3::interval
from free where l.name = $1 and l.resource = free.resource
returning l.resource, free.owner
"""

RELEASE = """
update leases set owner = '', expires_at = '-infinity' where name = $1 and owner = $2 and resource = any($3::integer[])
"""

# Instances that died without leaving are swept here, where nobody is in a hurry.
LEAVE = """
with released as (
    update leases set owner = '', expires_at = '-infinity' where name = $1 and owner = $2
)
delete from lease_instances where (name, owner) in (
    select name, owner from lease_instances
    where name = $1 and (owner = $2 or expires_at < clock_timestamp() - interval '1 hour')
    for update skip locked
)
"""


def fair_share(resources: int, instances: int) -> int:
    """The most that one instance may own: rounded up, so that the shares cover everything."""
    return -(-resources // max(1, instances))


async def ensure(connection: asyncpg.Connection, name: str, resources: Iterable[int]) -> None:
    """Make the leases that are missing, owned by nobody."""
    await connection.execute(ENSURE, name, list(resources))


async def beat(connection: asyncpg.Connection, name: str, owner: str, seconds: float) -> Beat:
    """Say that the instance lives, and renew what it owns, for ``seconds``. What others took meanwhile is missing."""
    row = await connection.fetchrow(BEAT, name, owner, timedelta(seconds=seconds))
    assert row is not None
    return Beat(frozenset(row["owned"]), row["instances"], row["free"])


async def claim(
    connection: asyncpg.Connection, name: str, owner: str, seconds: float, limit: int
) -> dict[int, str]:
    """Take up to ``limit`` resources that nobody owns. Returns those taken, each with the owner that let it expire or ""."""
    rows = await connection.fetch(CLAIM, name, owner, timedelta(seconds=seconds), limit)
    return {row["resource"]: row["owner"] for row in rows}


async def release(connection: asyncpg.Connection, name: str, owner: str, resources: Iterable[int]) -> None:
    """Give up some resources."""
    await connection.execute(RELEASE, name, owner, list(resources))


async def leave(connection: asyncpg.Connection, name: str, owner: str) -> None:
    """Give up everything and stop counting as an instance."""
    await connection.execute(LEAVE, name, owner)
