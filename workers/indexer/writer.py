"""A batch of changed contacts into the index.

The order is what keeps an index whole: the contacts are read first, then which indexes there are. A rebuild that begins in
between reads its contacts later than we did, so what it does not get from us it has already. Nor may it get what we read
before it began: of a contact that was deleted since, its index has nothing that would refuse us. So the indexes must be the
same before the contacts are read and after.
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
from storage.dead_letters import NewDeadLetter
from storage.search import state
from storage.search.elastic import bulk, documents
from storage.search.elastic.bulk import Refused
from workers.indexer.changes import Batch

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch

log = get_logger("workers.indexer.writer")


async def write(connection: asyncpg.Connection, client: AsyncElasticsearch, batch: Batch) -> bool:
    """Index the present state of the contacts; False when there was no live index to write to.

    What the live index does not get then it will get: every index is filled from the contacts before it goes live. Raises
    Retry, and what the database raises.
    """
    known = await state.read(connection)
    while True:
        before, loaded = known, await documents.load(connection, list(batch.contacts))
        known = await state.read(connection)
        if (known.live, known.next) != (before.live, before.next):
            continue
        targets = [index for index in (known.live, known.next) if index is not None]
        failpoint.hit("before_bulk")
        with metrics.SEARCH_BULK_SECONDS.time():
            written = await bulk.write(client, targets, list(loaded.values()))
        if not written.gone or await state.read(connection) == known:
            break  # else a rebuild has ended meanwhile: its index is the live one
    if written.refused:
        await _bury(connection, batch, written.refused)
    failpoint.hit("after_bulk")
    refused = len(written.refused)
    metrics.SEARCH_DOCUMENTS.labels("indexed").inc(len(loaded) - refused)
    metrics.SEARCH_DOCUMENTS.labels("refused").inc(refused)
    return known.live is not None and known.live not in written.gone


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
