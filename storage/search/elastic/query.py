"""The one door to a search: a ``TenantIndex`` sees one tenant, for every request that it makes is built in ``_body``.

Every way to find a term has a constant score, its rank in ``Criteria``; nothing depends on how frequent a word is, and no
search walks over the words of the index but by their beginnings or within one typing error.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from storage.search.criteria import MOST_HITS, Criteria, Filters, Hits, Position
from storage.search.elastic.connection import TIMEOUT, Misunderstood, Unavailable, reason
from storage.search.elastic.documents import attribute, microseconds, moment
from storage.search.text import MOST_VALUE, Term

Query = dict[str, Any]

_NOTHING: Query = {"match_none": {}}


class TenantIndex:
    """The contacts of one tenant in the index that serves."""

    def __init__(self, client: AsyncElasticsearch, alias: str, tenant: str) -> None:
        if not tenant:
            raise ValueError("a search needs a tenant")
        self._client = client.options(request_timeout=TIMEOUT)
        self._alias = alias
        self._tenant = tenant

    async def search(self, criteria: Criteria) -> Hits:
        """A page of ids; ``offset + size`` is at most MOST_HITS. Raises Unavailable and Misunderstood."""
        if criteria.only_postgres:
            raise Unavailable("it asks for what is not indexed")
        # One more than the page tells whether anything follows it, but no page reaches beyond MOST_HITS.
        asked = min(criteria.size + 1, MOST_HITS - criteria.offset)
        answer = await self._ask(
            self._body(
                _musts(criteria),
                list(_filters(criteria.filters)),
                sort=_sort(criteria),
                size=asked,
                **_from(criteria),
                track_total_hits=MOST_HITS,
            )
        )
        found = answer["hits"]["hits"]
        total = answer["hits"]["total"]["value"]
        at_least = answer["hits"]["total"]["relation"] == "gte"
        page = [hit["sort"] for hit in found[: criteria.size]]
        follows = len(found) > criteria.size or (asked == criteria.size == len(found) and at_least)
        last = _position(criteria, page[-1]) if page and follows else None
        return Hits([uuid.UUID(keys[-1]) for keys in page], total, at_least, last)

    async def holds(self, contact_id: uuid.UUID, version: int) -> bool:
        """Whether searches see the contact in that version or a newer one, be it deleted. Raises Unavailable."""
        wanted: list[Query] = [
            {"term": {"contact_id": str(contact_id)}},
            {"range": {"version": {"gte": version}}},
        ]
        answer = await self._ask(self._body([], wanted, deleted=True, size=0, terminate_after=1))
        return bool(answer["hits"]["total"]["value"])

    def _body(
        self, musts: list[Query], filters: list[Query], *, deleted: bool = False, **rest: Any
    ) -> dict[str, Any]:
        """Whatever is asked, of this tenant alone. ``deleted``: of contacts that were deleted as well."""
        query: Query = {"must": musts, "filter": [{"term": {"tenant_id": self._tenant}}, *filters]}
        if not deleted:
            query["must_not"] = [{"term": {"deleted": True}}]
        return {"query": {"bool": query}, "_source": False, "stored_fields": "_none_", **rest}

    async def _ask(self, body: dict[str, Any]) -> Any:
        try:
            answer = await self._client.search(
                index=self._alias,
                routing=self._tenant,
                preference=f"of {self._tenant}",  # one copy of the shard: each refreshes when it will
                body={**body, "timeout": f"{TIMEOUT}s"},
                allow_partial_search_results=False,
                request_cache=False,
            )
        except ApiError as error:
            kind = Misunderstood if error.status_code == 400 else Unavailable
            raise kind(reason(error)) from None
        except TransportError as error:
            raise Unavailable(reason(error)) from None
        if answer["timed_out"]:
            raise Unavailable(f"Elasticsearch took longer than {TIMEOUT} s")
        return answer


def _musts(criteria: Criteria) -> list[Query]:
    if criteria.text is None:
        return []
    if not criteria.text.terms:
        return [_NOTHING]
    return [_term(term, forgiving=criteria.forgiving) for term in criteria.text.terms]


def _term(term: Term, *, forgiving: bool) -> Query:
    ways: list[Query] = []
    for spelling in term.spellings:
        if len(spelling) > MOST_VALUE:  # longer than anything that is kept
            continue
        ways += [
            _rank({"term": {"values": spelling}}, 4),
            _rank({"term": {"words": spelling}}, 3),
            _rank({"prefix": {"words": spelling}}, 2),
        ]
        if term.is_fragment(spelling):
            ways.append(_rank({"match_phrase": {"words.text": spelling}}, 1))
    typed = term.forgiving
    if forgiving and typed and len(typed) <= MOST_VALUE:
        fuzzy = {"value": typed, "fuzziness": 1, "prefix_length": 0, "rewrite": "constant_score"}
        ways.append(_rank({"fuzzy": {"words": fuzzy}}, 0))
    return {"dis_max": {"queries": ways}} if ways else _NOTHING


def _rank(way: Query, rank: int) -> Query:
    return {"constant_score": {"filter": way, "boost": rank}}


def _filters(f: Filters) -> Iterator[Query]:
    for name in ("status", "source"):
        value = getattr(f, name)
        if value is not None:
            yield {"term": {name: value}}
    if f.tags and f.tags_match == "any":
        yield {"terms": {"tags": list(f.tags)}}
    elif f.tags:
        yield from ({"term": {"tags": tag}} for tag in f.tags)
    yield from ({"term": {"attributes": attribute(key, value)}} for key, value in f.attributes)
    for name, bound, at in (
        ("created_at", "gt", f.created_after),
        ("created_at", "lt", f.created_before),
        ("updated_at", "gt", f.updated_after),
    ):
        if at is not None:
            yield {"range": {name: {bound: microseconds(at)}}}
    for name in ("has_email", "has_phone"):
        wanted = getattr(f, name)
        if wanted is not None:
            yield {"term": {name: wanted}}


def _sort(criteria: Criteria) -> list[dict[str, Any]]:
    order = "desc" if criteria.descending else "asc"
    identity = {"contact_id": {"order": order}}
    if criteria.sort_by == "relevance":
        return [{"_score": {"order": order}}, identity]
    return [{criteria.sort_by: {"order": order, "missing": "_last"}}, identity]


def _from(criteria: Criteria) -> dict[str, Any]:
    if criteria.after is None:
        return {"from": criteria.offset}
    key = criteria.after.key
    return {"search_after": [microseconds(key) if isinstance(key, datetime) else key, str(criteria.after.id)]}


def _position(criteria: Criteria, keys: list[Any]) -> Position:
    key, contact_id = keys
    if criteria.sort_by == "relevance":
        key = int(key)
    elif criteria.sort_by != "display_name":
        key = moment(key)
    return Position(key, uuid.UUID(contact_id))
