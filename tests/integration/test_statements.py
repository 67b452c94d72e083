"""The statements of a batch do not grow with the messages in it; counted by the server, those of an indexer by its connection."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from ops.bench import statements
from storage.postgres import WRITER, connect
from storage.search.elastic import bulk
from storage.search.elastic.bulk import Written
from storage.search.rebuild import PIECE
from workers.indexer import writer
from workers.indexer.changes import BATCH, Batch, Change

MOST = 20  # a constant of the design: phases, not messages


@pytest.mark.parametrize("stream", ["WEBHOOK", "COMMAND"])
async def test_a_batch_of_500_takes_as_many_statements_as_one_of_50(database: str, stream: str) -> None:
    counted = await statements.count(database, stream)
    assert counted["500"] == counted["50"]
    assert 0 < counted["1"] <= counted["50"] <= MOST


async def test_an_indexer_reads_the_contacts_of_a_batch_in_a_few_pieces(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await connect(database, WRITER)
    rows = await connection.fetch(
        "insert into contacts (tenant_id, id, created_at, updated_at, version, timeline_sequence) "
        "select 'indexed', gen_random_uuid(), now(), now(), 1, 0 from generate_series(1, $1::integer) returning id",
        BATCH,
    )
    said: list[str] = []
    sent: list[int] = []

    async def taken(_client: Any, _targets: Any, found: list[Any], **_options: Any) -> Written:
        sent.append(len(found))
        return Written()

    monkeypatch.setattr(bulk, "write", taken)
    client: Any = None
    change = Change(1, "contact.updated.-.-", datetime.now(UTC))
    await writer.write(
        connection, client, Batch({("indexed", rows[0]["id"]): change})
    )  # asyncpg learns the types
    sent.clear()
    await asyncio.sleep(0)
    connection.add_query_logger(lambda query: said.append(query.query))
    counted = {}
    for size in (1, PIECE, BATCH):
        said.clear()
        await writer.write(connection, client, Batch({("indexed", row["id"]): change for row in rows[:size]}))
        await asyncio.sleep(0)  # the loggers are told in the next round of the loop
        counted[size] = len(said)
    await connection.close()
    assert sent == [1, PIECE, BATCH]
    assert counted == {1: 3, PIECE: 3, BATCH: 2 + BATCH // PIECE}
