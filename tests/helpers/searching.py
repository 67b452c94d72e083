"""Searches on either engine: contacts that both know, and the worker that asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import nats
import pytest

from contracts.subjects import EVENTS
from storage.search.elastic import connection, query
from tests.helpers.applier import Applier
from tests.helpers.asker import Asker, asking
from tests.helpers.elastic import indexed
from workers import streams
from workers.indexer import changes
from workers.queries import elastic

PEOPLE: dict[str, dict[str, Any]] = {
    "ann": {
        "first_name": "Ann",
        "last_name": "Weber",
        "email": "Ann.Weber@example.com",
        "phone": "+4915112345678",
        "source": "web-shop",
        "attributes": {"company": "Example GmbH", "plan": "gold", "seats": 5, "beta": True},
        "tags": ["vip", "newsletter"],
    },
    "juergen": {
        "first_name": "Jürgen",
        "last_name": "Müller",
        "email": "jm@mueller.example",
        "status": "inactive",
        "source": "import",
        "attributes": {"company": "Weber & Söhne", "plan": "silver", "seats": "5"},
        "tags": ["vip"],
    },
    "ivan": {
        "first_name": "Иван",
        "last_name": "Петров",
        "attributes": {"plan": "gold", "a.b": 1.5},
        "tags": ["newsletter"],
    },
    "push": {"identifiers": [{"channel": "push", "identifier": "Device-77"}]},
    "html": {"first_name": "<b>Bobby</b>", "last_name": "O'Tables & 100%"},
}


async def made(writer: asyncpg.Connection) -> dict[str, str]:
    """PEOPLE as the contacts of tenant a, ids by external id; a deleted one beside them, and another tenant's Ann."""
    applier = Applier(writer, tenant="a")
    ids = {}
    for name, fields in PEOPLE.items():
        outcome = await applier.send("contact.create", {"external_id": name, **fields})
        assert outcome.status == "applied", outcome
        ids[name] = str(outcome.contact_id)
    await applier.send("contact.create", {"external_id": "gone", "first_name": "Ann", "last_name": "Gone"})
    await applier.send("contact.delete", {"contact": {"external_id": "gone"}})
    await Applier(writer, tenant="b").send(
        "contact.create", {"external_id": "ann-b", "first_name": "Ann", "last_name": "Weber"}
    )
    return ids


async def lagless(nats_url: str) -> None:
    """Streams, and the indexers' consumer, with nothing in them to read."""
    client = await nats.connect(nats_url)
    try:
        await streams.declare(client)
        await client.jetstream().purge_stream(EVENTS.name)
        await changes.declare(client, 30)
    finally:
        await client.close()


def patient(patch: pytest.MonkeyPatch) -> None:
    """A worker of this process gives Elasticsearch as long as it takes."""
    for module in (connection, query, elastic):
        patch.setattr(module, "TIMEOUT", 60)


@asynccontextmanager
async def asking_on(
    elasticsearch_url: str | None, database: str, nats_url: str, writer: asyncpg.Connection
) -> AsyncIterator[Asker]:
    """A worker that asks Elasticsearch, where everything that is there is indexed; or (None) Postgres.

    It has patience: what is found is tested with it, and not how soon.
    """
    async with AsyncExitStack() as stack:
        patient(stack.enter_context(pytest.MonkeyPatch.context()))
        settings: dict[str, Any] = {"elasticsearch_url": elasticsearch_url}
        if elasticsearch_url is not None:
            await lagless(nats_url)
            index = await stack.enter_async_context(indexed(elasticsearch_url))
            await index.fill(writer)
            settings["search_index"] = index.alias
        asker = await stack.enter_async_context(asking(database, nats_url, **settings))
        asker.engine = "elasticsearch" if elasticsearch_url else "postgres"
        yield asker
