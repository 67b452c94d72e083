"""A batch of changed contacts into the index.

The order is what keeps an index whole: the contacts are read first, then which indexes there are. A rebuild that begins in
between reads its contacts later than we did, so what it does not get from us it has already. Nor may it get what we read
before it began: of a contact that was deleted since, its index has nothing that would refuse us. So the indexes must be the
same before the contacts are read and after.

The same version is written over: after the database was restored to an earlier time it may stand for another change. What the
index then holds in a newer version than the database it will not give up, and only an index that is built anew is without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncpg

from contracts.subjects import EVENTS, STRAY
from contracts.vocabulary import DeadLetterReason
from ops import failpoint, metrics
from ops.logging import get_logger
from storage import dead_letters
from storage.contacts import ContactKey
from storage.dead_letters import NewDeadLetter
from storage.search import state
from storage.search.audit import ahead
from storage.search.elastic import bulk, documents
from storage.search.elastic.bulk import Refused
from storage.search.elastic.documents import Document
from storage.search.elastic.indexes import Gone
from storage.search.rebuild import MOST_TOKENS, PIECE
from workers.indexer.changes import Batch

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch

log = get_logger("workers.indexer.writer")


async def write(connection: asyncpg.Connection, client: AsyncElasticsearch, batch: Batch) -> bool:
    """Index the present state of the contacts; False when there was no live index to write to.

    What the live index does not get then it will get: every index is filled from the contacts before it goes live. Raises
    Retry, and what the database raises.
    """
    left = list(batch.contacts)
    served = True
    while left:
        there, left = await _write_first(connection, client, batch, left)
        served = served and there
    return served


async def _write_first(
    connection: asyncpg.Connection, client: AsyncElasticsearch, batch: Batch, keys: list[ContactKey]
) -> tuple[bool, list[ContactKey]]:
    """Write as many of the contacts as are held at a time: whether there was a live index, and the rest."""
    known = await state.read(connection)
    while True:
        before = known
        loaded, left = await _load_first(connection, keys)
        known = await state.read(connection)
        if (known.live, known.next) != (before.live, before.next):
            continue
        targets = [index for index in (known.live, known.next) if index is not None]
        failpoint.hit("before_bulk")
        with metrics.SEARCH_BULK_SECONDS.time():
            written = await bulk.write(client, targets, loaded, again=True)
        if not written.gone or await state.read(connection) == known:
            break  # else a rebuild has ended meanwhile: its index is the live one
    if written.refused:
        await _bury(connection, batch, written.refused)
    if known.live in written.kept and known.incomplete_since is None:
        await _look_behind(connection, client, known.live, written.kept[known.live])
    failpoint.hit("after_bulk")
    refused = len(written.refused)
    metrics.SEARCH_DOCUMENTS.labels("indexed").inc(len(loaded) - refused)
    metrics.SEARCH_DOCUMENTS.labels("refused").inc(refused)
    return known.live is not None and known.live not in written.gone, left


async def _load_first(
    connection: asyncpg.Connection, keys: list[ContactKey]
) -> tuple[list[Document], list[ContactKey]]:
    """Documents until they weigh enough, a piece at a time; and the keys of the rest."""
    loaded: list[Document] = []
    read = 0
    while read < len(keys) and documents.weight(loaded) < MOST_TOKENS:
        loaded += (await documents.load(connection, keys[read : read + PIECE])).values()
        read += PIECE
    return loaded, keys[read:]


async def _look_behind(
    connection: asyncpg.Connection, client: AsyncElasticsearch, live: str, kept: Sequence[Document]
) -> None:
    """Note it where the index has kept versions that the database has not reached, not those of another indexer."""
    try:
        found = await ahead(connection, client, live, [(one.tenant_id, one.id) for one in kept])
    except Gone:
        return
    if found:
        log.error("the database is behind the index: it was set back", operation="index", contacts=len(found))
        await state.set_back(connection)


async def _bury(connection: asyncpg.Connection, batch: Batch, refused: Sequence[Refused]) -> None:
    """A document that two indexes refuse is one dead letter."""
    letters = {}
    for document, reason in ((r.document, r.reason) for r in refused):
        key = (document.tenant_id, document.id)
        change = batch.contacts[key]
        letters[key] = NewDeadLetter(
            stream=EVENTS.name,
            tenant=document.tenant_id,
            partition=STRAY,
            position=change.sequence,
            subject=change.subject,
            reason=DeadLetterReason.NOT_INDEXABLE,
            detail=f"version {document.version}: {reason}",
            headers={},
            body=b"",
            broker_time=change.time,
        )
    await dead_letters.insert(connection, list(letters.values()))
    metrics.DEAD_LETTERS.labels(EVENTS.name, DeadLetterReason.NOT_INDEXABLE).inc(len(letters))
    log.warning("documents refused", operation="index", documents=len(letters))
