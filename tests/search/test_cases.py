"""One meaning: every case on both engines, which go on with each other's pages."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest

from storage.postgres import WRITER, connect, engine
from storage.reads.session import Reads
from storage.search import postgres
from storage.search.criteria import Criteria, Hits
from storage.search.elastic.connection import connect as connect_elastic
from storage.search.elastic.query import TenantIndex
from tests.conftest import Elasticsearch
from tests.helpers.applier import Applier
from tests.helpers.elastic import indexed
from tests.search.cases import CASES, CHANGED, CONTACTS, DELETED, ORDERS, Case

TENANT, OTHER = "acme", "other"
ENGINES = ("postgres", "elasticsearch")
SIZES = (1, 2, 7)

Ask = Callable[[Criteria], Awaitable[Hits]]


@dataclass(frozen=True)
class Crowd:
    """The contacts of TENANT, on both engines. OTHER has the same ones."""

    engines: dict[str, Ask]
    ids: dict[str, uuid.UUID]
    made: dict[str, datetime]

    def criteria(self, case: Case) -> Criteria:
        return case.asked(self.made)

    def labels(self, found: list[uuid.UUID]) -> list[str]:
        names = {contact_id: label for label, contact_id in self.ids.items()}
        return [names.get(contact_id, f"a stranger, {contact_id}") for contact_id in found]


async def write(applier: Applier) -> dict[str, uuid.UUID]:
    """The contacts of the cases, by the commands that make them."""
    ids: dict[str, Any] = {}
    for label, fields in (CONTACTS | DELETED).items():
        outcome = await applier.send("contact.create", fields)
        assert outcome.status == "applied", outcome
        ids[label] = outcome.contact_id
    for label in DELETED:
        await applier.send("contact.delete", {"contact": {"id": str(ids[label])}})
    await applier.send("contact.update", {"contact": {"id": str(ids[CHANGED])}, "set": {"avatar_url": "x"}})
    return ids


@pytest.fixture(scope="module")
async def crowd(database: str, elasticsearch: Elasticsearch) -> AsyncIterator[Crowd]:
    writer = await connect(database, WRITER)
    ids = await write(Applier(writer, tenant=TENANT))
    strangers = await write(Applier(writer, tenant=OTHER))
    rows = await writer.fetch("select id, created_at from contacts where tenant_id = $1", TENANT)
    made = {row["id"]: row["created_at"] for row in rows}
    reading = engine(database, size=1)

    async def ask_postgres(criteria: Criteria) -> Hits:
        async with Reads(reading).of(TENANT) as reads:
            return await postgres.search(reads, criteria)

    async with indexed(elasticsearch.url) as index:
        client = connect_elastic(elasticsearch.url)
        await index.put(writer, *_keys(TENANT, ids), *_keys(OTHER, strangers))
        asks = {"postgres": ask_postgres, "elasticsearch": TenantIndex(client, index.alias, TENANT).search}
        yield Crowd(asks, ids, {label: made[contact_id] for label, contact_id in ids.items()})
        await client.close()
    await reading.dispose()
    await writer.close()


def _keys(tenant: str, ids: dict[str, uuid.UUID]) -> list[tuple[str, uuid.UUID]]:
    return [(tenant, contact_id) for contact_id in ids.values()]


def test_the_table_is_what_it_says() -> None:
    assert len({case.title for case in CASES}) == len(CASES) >= 60
    assert all(set(case.found) <= set(CONTACTS) for case in CASES)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
async def test_case(crowd: Crowd, case: Case, name: str) -> None:
    hits = await crowd.engines[name](crowd.criteria(case))
    found = crowd.labels(hits.ids)
    assert (found if case.ordered else sorted(found)) == list(
        case.found if case.ordered else sorted(case.found)
    )
    assert (hits.total, hits.at_least, hits.last) == (len(case.found), False, None)


@pytest.mark.parametrize(("first", "second"), list(itertools.product(ENGINES, repeat=2)))
@pytest.mark.parametrize("case", ORDERS, ids=lambda case: case.title)
async def test_pages(crowd: Crowd, case: Case, first: str, second: str) -> None:
    """By cursor, one engine's page after the other's: nobody is left out or comes twice."""
    for size in SIZES:
        criteria = replace(crowd.criteria(case), size=size)
        found: list[str] = []
        for name in itertools.cycle((first, second)):
            hits = await crowd.engines[name](criteria)
            found += crowd.labels(hits.ids)
            assert hits.total == len(case.found)
            if hits.last is None:
                break
            assert (len(hits.ids), hits.last.id) == (size, hits.ids[-1])
            criteria = replace(criteria, after=hits.last)
        assert found == list(case.found)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("case", ORDERS, ids=lambda case: case.title)
async def test_offsets(crowd: Crowd, case: Case, name: str) -> None:
    for size, offset in ((1, 1), (2, 1), (7, 14), (100, 3)):
        hits = await crowd.engines[name](replace(crowd.criteria(case), size=size, offset=offset))
        assert crowd.labels(hits.ids) == list(case.found[offset : offset + size])
        assert hits.total == len(case.found)
        assert (hits.last is None) == (offset + size >= len(case.found))
