"""The timeline's monthly partitions: made ahead by whoever may only write, and nothing is stuck in the default one."""

from datetime import UTC, datetime

import asyncpg
import pytest

from storage import timeline
from storage.ids import uuid7
from storage.postgres import READER, WRITER, connect


async def partitions(connection: asyncpg.Connection) -> dict[str, int]:
    names = await connection.fetch(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'contact_events'::regclass"
    )
    return {name[0]: await connection.fetchval(f"select count(*) from {name[0]}") for name in names}


async def test_rows_of_a_month_that_had_no_partition_move_to_it(
    database: str, owner: asyncpg.Connection
) -> None:
    month = f"contact_events_{datetime.now(UTC):%Y_%m}"
    await owner.execute(f"drop table {month}")
    await owner.execute(
        "insert into contact_events select 'acme', $1, $1, 1, 1, null, null, 'note_added', 'note', 'normal', 'x', null, '{}', "
        "'{}', 'system', null, null, false, null, null, false, true, null, now(), now()",
        uuid7(),
    )
    assert (await partitions(owner))["contact_events_default"] == 1
    writer = await connect(database, WRITER)
    await timeline.make_partitions(writer, timeline.MONTHS_AHEAD)
    await writer.close()
    after = await partitions(owner)
    assert after["contact_events_default"] == 0
    assert after[month] == 1
    assert len(after) == timeline.MONTHS_AHEAD + 2


async def test_whoever_only_reads_makes_no_partitions(database: str) -> None:
    reader = await connect(database, READER)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await timeline.make_partitions(reader, 1)
    await reader.close()


async def test_a_partition_has_every_index_of_the_whole_table(owner: asyncpg.Connection) -> None:
    await owner.execute("select rollcall_make_event_partitions($1)", timeline.MONTHS_AHEAD + 2)
    lacking = await owner.fetch(
        "select relid::regclass::text, indexrelid::regclass::text from pg_partition_tree('contact_events'), pg_index "
        "where isleaf and indrelid = 'contact_events'::regclass and not exists (select from pg_inherits join pg_index own "
        "on own.indexrelid = inhrelid where inhparent = pg_index.indexrelid and own.indrelid = relid and own.indisvalid)"
    )
    assert lacking == []
