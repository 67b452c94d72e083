"""How far each partition of a stream has been applied.

Invariant: a cursor moves only forward, only in the transaction that commits the effects of what it passes, and only from the sequence
that its owner believes in. Whoever is wrong about that changes nothing and rolls back; leases are not needed for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

import asyncpg


class Cursor(NamedTuple):
    """The last sequence applied, and the creation time of the stream that it belongs to."""

    sequence: int
    stream_created: datetime


LOAD = "select partition, sequence, stream_created from cursors where stream = $1"

# Conflicting with a row that somebody is just moving would wait for them: what is there is not even tried.
ENSURE = """
insert into cursors (stream, partition, stream_created, sequence)
select $1, p, $3, 0 from unnest($2::integer[]) as p
where not exists (select from cursors where stream = $1 and partition = p)
order by p
on conflict do nothing
"""

# Locked in partition order, so that two batches with several partitions in common never wait in a circle.
COMPARE_AND_SET = """
with locked as (
    select partition, sequence from cursors
    where stream = $1 and stream_created = $2 and partition = any($3::integer[])
    order by partition for update
)
update cursors as c set sequence = n.new, updated_at = clock_timestamp()
from locked join unnest($3::integer[], $4::bigint[], $5::bigint[]) as n(partition, old, new) using (partition)
where c.stream = $1 and c.partition = locked.partition and locked.sequence = n.old and n.new >= n.old
"""

ADOPT = """
insert into cursors as c (stream, partition, stream_created, sequence)
select $1, n.partition, $2, n.sequence from unnest($3::integer[], $4::bigint[]) as n(partition, sequence)
order by n.partition
on conflict (stream, partition)
    do update set stream_created = excluded.stream_created, sequence = excluded.sequence, updated_at = clock_timestamp()
"""


async def load(
    connection: asyncpg.Connection, stream: str, partitions: Iterable[int] | None = None
) -> dict[int, Cursor]:
    """The cursors of these partitions (all without the argument); those that were never made are missing."""
    wanted = None if partitions is None else frozenset(partitions)
    rows = await connection.fetch(LOAD, stream)
    return {p: Cursor(sequence, created) for p, sequence, created in rows if wanted is None or p in wanted}


async def ensure(
    connection: asyncpg.Connection, stream: str, partitions: Iterable[int], stream_created: datetime
) -> None:
    """Make the cursors that are missing, at the beginning of the stream."""
    await connection.execute(ENSURE, stream, list(partitions), stream_created)


async def compare_and_set(
    connection: asyncpg.Connection,
    stream: str,
    stream_created: datetime,
    old: Mapping[int, int],
    new: Mapping[int, int],
) -> bool:
    """Lock and move the partitions of ``new`` from ``old`` in the open transaction.

    False when any of them is elsewhere or of another stream: the caller must roll back.
    """
    partitions = sorted(new)
    tag = await connection.execute(
        COMPARE_AND_SET,
        stream,
        stream_created,
        partitions,
        [old[p] for p in partitions],
        [new[p] for p in partitions],
    )
    return tag == f"UPDATE {len(partitions)}"


async def adopt(
    connection: asyncpg.Connection, stream: str, stream_created: datetime, sequences: Mapping[int, int]
) -> None:
    """Declare that these partitions of the stream created then are applied up to these sequences, whatever was known."""
    partitions = sorted(sequences)
    await connection.execute(ADOPT, stream, stream_created, partitions, [sequences[p] for p in partitions])
