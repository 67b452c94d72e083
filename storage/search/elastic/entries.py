"""What an index holds of contacts: their ids, versions and whether they are deleted; for comparing, never for a search."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from elasticsearch import AsyncElasticsearch

from storage.contacts import ContactKey
from storage.search.elastic.bulk import Retry, write_alias
from storage.search.elastic.indexes import INDEX_NOT_FOUND, Gone, asking
from storage.search.elastic.patience import patiently
from storage.search.findings import Entry

PAGE: Final = 10_000  # documents of one answer; an index allows no more
TENANTS: Final = 1_000  # of one answer
TIMEOUT: Final = 60  # seconds, of one request

T = TypeVar("T")

TextKey = tuple[str, str]  # of a contact: its tenant, and its id as text


class Place(NamedTuple):
    """Of a document: its sequence number and term, which change when it is written."""

    number: int
    term: int


class Entries:
    """Of one index, and where ``tenant`` is given of that tenant alone. Everything here raises Gone and Retry."""

    def __init__(self, client: AsyncElasticsearch, index: str, tenant: str | None = None) -> None:
        self._client = client.options(request_timeout=TIMEOUT)
        self._index = index
        self._tenant = tenant

    async def refresh(self) -> None:
        """Let what was written until now be seen."""
        await _asked(lambda: self._client.indices.refresh(index=self._index))

    async def between(
        self, after: ContactKey, tenants: Iterable[str], last: ContactKey | None
    ) -> AsyncIterator[tuple[TextKey, Entry]]:
        """From after one contact to another, or (None) to the end; ``tenants`` are those in between.

        Only ids are compared in order, never names of tenants: PostgreSQL sorts those by its locale.
        """
        whole: list[str] = []
        pieces: list[dict[str, Any]] = []
        for tenant in dict.fromkeys((after[0], *tenants)):
            bounds = {"gt": str(after[1])} if tenant == after[0] else {}
            if last is not None and tenant == last[0]:
                bounds["lte"] = str(last[1])
            if bounds:
                of_tenant = [{"term": {"tenant_id": tenant}}, {"range": {"contact_id": bounds}}]
                pieces.append({"bool": {"filter": of_tenant}})
            else:
                whole.append(tenant)
        async for found in self._found({"bool": {"should": [_of(whole), *pieces]}}):
            yield found

    async def of_tenants(self, tenants: Sequence[str]) -> AsyncIterator[tuple[TextKey, Entry]]:
        async for found in self._found(_of(tenants)):
            yield found

    async def tenants(self) -> AsyncIterator[list[str]]:
        """Every tenant that has a document, some at a time."""
        after: dict[str, Any] = {}
        while True:
            pages = {"size": TENANTS, "sources": [{"tenant": {"terms": {"field": "tenant_id"}}}], **after}
            answer = await self._search(size=0, aggregations={"tenants": {"composite": pages}})
            found = answer["aggregations"]["tenants"]
            if not found["buckets"]:
                return
            yield [bucket["key"]["tenant"] for bucket in found["buckets"]]
            after = {"after": found["after_key"]}

    async def present(self, keys: Sequence[ContactKey]) -> dict[ContactKey, tuple[Entry, Place]]:
        """What is there of these contacts now, be it refreshed or not."""
        wanted = [{"_id": str(contact_id), "routing": tenant} for tenant, contact_id in keys]
        answer = await _asked(
            lambda: self._client.mget(index=self._index, docs=wanted, source_includes=["deleted"])
        )
        present = {}
        for key, item in zip(keys, answer["docs"], strict=True):
            if why := _why(item):
                raise Gone(why) if why == INDEX_NOT_FOUND else Retry(f"Elasticsearch answers {why}")
            if item["found"]:
                entry = Entry(item["_version"], item["_source"]["deleted"])
                present[key] = (entry, Place(item["_seq_no"], item["_primary_term"]))
        return present

    async def remove(self, places: Mapping[ContactKey, Place]) -> int:
        """Take documents out, each only as it was seen. Answers how many are no more."""
        operations = [
            {
                "delete": {
                    "_id": str(contact_id),
                    "routing": tenant,
                    "if_seq_no": place.number,
                    "if_primary_term": place.term,
                }
            }
            for (tenant, contact_id), place in places.items()
        ]
        answer = await _asked(
            lambda: self._client.bulk(index=write_alias(self._index), operations=operations)
        )
        ended = [item["delete"] for item in answer["items"]]
        if any(_why(item) == INDEX_NOT_FOUND for item in ended):
            raise Gone(INDEX_NOT_FOUND)
        return sum(item["status"] == 200 for item in ended)

    async def _found(self, query: dict[str, Any]) -> AsyncIterator[tuple[TextKey, Entry]]:
        """In order, a page at a time; from columns alone, whole documents would take ten times as long."""
        after: dict[str, Any] = {}
        while True:
            answer = await self._search(
                query={"bool": {"filter": [query]}},
                sort=[{"tenant_id": "asc"}, {"contact_id": "asc"}],
                size=PAGE,
                docvalue_fields=["version", "deleted"],
                stored_fields="_none_",
                source=False,
                filter_path=("hits.hits.sort", "hits.hits.fields"),
                **after,
            )
            hits = answer.body.get("hits", {}).get("hits", ())  # filter_path leaves out what is empty
            for hit in hits:
                tenant, contact_id = hit["sort"]
                fields = hit["fields"]
                yield (tenant, contact_id), Entry(fields["version"][0], fields["deleted"][0])
            if len(hits) < PAGE:
                return
            after = {"search_after": hits[-1]["sort"]}

    async def _search(self, **body: Any) -> Any:
        return await _asked(
            lambda: self._client.search(
                index=self._index,
                routing=self._tenant,
                track_total_hits=False,
                allow_partial_search_results=False,
                request_cache=False,
                **body,
            )
        )


def _why(item: dict[str, Any]) -> str | None:
    """The error of one item of an answer."""
    return str(item["error"]["type"]) if "error" in item else None


def _of(tenants: Sequence[str]) -> dict[str, Any]:
    return {"terms": {"tenant_id": tenants}}


async def _asked(ask: Callable[[], Awaitable[T]]) -> T:
    async def once() -> T:
        with asking():
            return await ask()

    return await patiently(once)
