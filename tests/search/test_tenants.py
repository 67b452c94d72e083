"""No search shows another tenant's contact, whatever it asks: two tenants with the same contacts share an index and a shard."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch

from storage.postgres import WRITER
from storage.postgres import connect as connect_postgres
from storage.search import text
from storage.search.criteria import Criteria, Filters, Position
from storage.search.elastic import bulk, documents, mapping
from storage.search.elastic.bulk import write_alias
from storage.search.elastic.connection import connect
from storage.search.elastic.query import TenantIndex
from tests.conftest import Elasticsearch
from tests.helpers.applier import Applier

TENANTS = ("acme", "evil", "acme-2", "ACME", "_all", "acme_evil", "AND")
PEOPLE = 3  # of each tenant

SEARCHES: list[dict[str, Any]] = [
    {},
    {"text": text.parse("maria")},
    {"text": text.parse("mar")},
    {"text": text.parse("ari")},
    {"text": text.parse("marja"), "forgiving": True},
    {"text": text.parse("@shared.example")},
    {"text": text.parse("0151 1234")},
    {"filters": Filters(status="active")},
    {"filters": Filters(source="import", tags=("vip",))},
    {"filters": Filters(attributes=(("plan", "gold"),))},
    {"filters": Filters(has_email=True)},
    {"sort_by": "created_at"},
    {"sort_by": "display_name", "descending": False},
    {"sort_by": "updated_at", "offset": 1},
]


@dataclass(frozen=True)
class Shared:
    client: AsyncElasticsearch
    alias: str
    ids: dict[str, list[uuid.UUID]]  # by tenant

    def of(self, tenant: str) -> TenantIndex:
        return TenantIndex(self.client, self.alias, tenant)


@pytest.fixture(scope="module")
async def shared(database: str, elasticsearch: Elasticsearch, search_index: str) -> AsyncIterator[Shared]:
    writer = await connect_postgres(database, WRITER)
    client = connect(elasticsearch.url)
    index = f"{search_index}-1"
    aliases: dict[str, Any] = {search_index: {}, write_alias(index): {}}
    await client.indices.create(index=index, **mapping.body(1), aliases=aliases)
    ids: dict[str, list[uuid.UUID]] = {tenant: [] for tenant in TENANTS}
    for n in range(PEOPLE):
        for tenant in TENANTS:
            fields = {
                "first_name": "Maria",
                "email": f"maria{n}@shared.example",
                "phone": f"+4915112345{n:03}",
                "source": "import",
                "tags": ["vip"],
                "attributes": {"plan": "gold"},
            }
            outcome = await Applier(writer, tenant=tenant).send("contact.create", fields)
            assert outcome.contact_id, outcome
            ids[tenant].append(outcome.contact_id)
    everybody = [(tenant, contact_id) for tenant, contacts in ids.items() for contact_id in contacts]
    await bulk.write(client, [index], list((await documents.load(writer, everybody)).values()))
    await client.indices.refresh(index=index)
    yield Shared(client, search_index, ids)
    await client.close()
    await writer.close()


@pytest.mark.parametrize("tenant", TENANTS)
@pytest.mark.parametrize("search", SEARCHES, ids=str)
async def test_a_search_finds_the_tenants_own(shared: Shared, tenant: str, search: dict[str, Any]) -> None:
    criteria = Criteria(**search, size=100)
    hits = await shared.of(tenant).search(criteria)
    assert set(hits.ids) <= set(shared.ids[tenant])
    assert (len(hits.ids), hits.total) == (PEOPLE - criteria.offset, PEOPLE)


@pytest.mark.parametrize("tenant", TENANTS)
async def test_a_version_is_seen_by_its_tenant_alone(shared: Shared, tenant: str) -> None:
    for owner, contacts in shared.ids.items():
        for contact_id in contacts:
            assert await shared.of(tenant).holds(contact_id, 1) == (owner == tenant)


@pytest.mark.parametrize("sort_by", ["relevance", "created_at", "updated_at", "display_name"])
@pytest.mark.parametrize("descending", [True, False])
async def test_another_tenants_cursor_goes_on_in_ones_own(
    shared: Shared, sort_by: Any, descending: bool
) -> None:
    """A position is a place in an order and nothing else."""
    criteria = Criteria(sort_by=sort_by, descending=descending, size=1)
    theirs = (await shared.of("evil").search(criteria)).last
    assert theirs is not None
    assert theirs.id in shared.ids["evil"]
    for position in (
        theirs,
        Position(theirs.key, uuid.UUID(int=0)),
        Position(theirs.key, uuid.UUID(int=2**128 - 1)),
    ):
        hits = await shared.of("acme").search(replace(criteria, after=position, size=100))
        assert set(hits.ids) <= set(shared.ids["acme"])
        assert hits.total == PEOPLE


async def test_a_contacts_id_is_not_text(shared: Shared) -> None:
    for contact_id in shared.ids["evil"]:
        for typed in (str(contact_id), str(contact_id)[:8], contact_id.hex):
            assert (await shared.of("acme").search(Criteria(text=text.parse(typed)))).ids == []


async def test_a_tenant_that_has_nothing_finds_nothing(shared: Shared) -> None:
    for tenant in ("nobody", "acm", "acme ", "*", "acme,evil", "acme OR evil", "tenant_id:acme", "evil\0"):
        hits = await shared.of(tenant).search(Criteria())
        assert (hits.ids, hits.total) == ([], 0)


async def test_a_search_without_a_tenant_cannot_be_asked(shared: Shared) -> None:
    with pytest.raises(ValueError, match="tenant"):
        shared.of("")


async def test_every_request_goes_through_the_one_door(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tenant's filter, its routing, and no deleted contact: also of requests that are yet to be written."""
    sent: list[dict[str, Any]] = []
    index = shared.of("acme")
    search = index._client.search

    async def note(**asked: Any) -> Any:
        sent.append(asked)
        return await search(**asked)

    monkeypatch.setattr(index._client, "search", note)
    for asked in SEARCHES:
        await index.search(Criteria(**asked))
    await index.holds(shared.ids["acme"][0], 1)
    assert len(sent) == len(SEARCHES) + 1
    for asked in sent:
        assert asked["routing"] == "acme"
        assert {"term": {"tenant_id": "acme"}} in asked["body"]["query"]["bool"]["filter"]
    for asked in sent[:-1]:
        assert {"term": {"deleted": True}} in asked["body"]["query"]["bool"]["must_not"]
