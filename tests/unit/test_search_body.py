"""What Elasticsearch is asked: whatever is typed, of one tenant, past the request cache, and never a walk over all words."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.search.criteria import Criteria, Filters
from storage.search.elastic.query import TenantIndex
from storage.search.text import TooManyTerms, parse

WALKS = {
    "wildcard",
    "regexp",
    "query_string",
    "simple_query_string",
    "script",
    "script_score",
    "more_like_this",
}
KNOWN = {
    "bool",
    "term",
    "terms",
    "range",
    "prefix",
    "match_phrase",
    "fuzzy",
    "dis_max",
    "constant_score",
    "match_none",
}

TYPED = [
    "*",
    "a*",
    "?nna",
    "/.*/",
    "anna AND NOT otto OR (x:y)",
    "_exists_:email",
    'tenant_id:other"} {"match_all": {}',
    "100%",
    "web weber 0151 1234",
    "0151 123-45",
    "\N{GRINNING FACE} anna",
    "\u202eanna \u05e9\u05dc\u05d5\u05dd",
    "an\0na",
    "x" * 10_000,
    "w" * 5_000 + "*",
]


class Asked:
    """A client that keeps what it is asked, and answers that there is nothing."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def options(self, **_options: Any) -> Asked:
        return self

    async def search(self, **said: Any) -> dict[str, Any]:
        self.said.append(said)
        return {"timed_out": False, "hits": {"total": {"value": 0, "relation": "eq"}, "hits": []}}


async def asked(query: str | None, **fields: Any) -> dict[str, Any]:
    client: Any = Asked()
    await TenantIndex(client, "contacts", "acme").search(Criteria(text=parse(query), **fields))
    (said,) = client.said
    return dict(said)


def clauses(query: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every clause of a query, each by its name."""
    ((name, inside),) = query.items()
    yield name, inside
    if name == "bool":
        for occurrence in inside.values():
            for one in occurrence:
                yield from clauses(one)
    elif name == "dis_max":
        for one in inside["queries"]:
            yield from clauses(one)
    elif name == "constant_score":
        yield from clauses(inside["filter"])


def judge(said: dict[str, Any]) -> None:
    assert (said["request_cache"], said["routing"], said["index"]) == (False, "acme", "contacts")
    body = said["body"]
    assert {"term": {"tenant_id": "acme"}} in body["query"]["bool"]["filter"]
    assert body["query"]["bool"]["must_not"] == [{"term": {"deleted": True}}]
    assert not {"script_fields", "runtime_mappings", "aggs", "aggregations"} & body.keys()
    names = set()
    for name, inside in clauses(body["query"]):
        names.add(name)
        if name == "fuzzy":
            assert [given["fuzziness"] for given in inside.values()] == [1]
    assert not names & WALKS
    assert names <= KNOWN


@pytest.mark.parametrize("forgiving", [False, True])
@pytest.mark.parametrize("query", TYPED, ids=range(len(TYPED)))
async def test_whatever_is_typed(query: str, forgiving: bool) -> None:
    judge(await asked(query, forgiving=forgiving))


async def test_whatever_it_is_narrowed_to() -> None:
    filters = Filters(
        status="active", source="*", tags=("a*", "?"), attributes=(("plan", "*"), ("n", 1)), has_email=True
    )
    judge(await asked(None, filters=filters))
    judge(await asked("anna", filters=filters, sort_by="display_name"))


@given(st.text(max_size=60))
async def test_any_text(query: str) -> None:
    try:
        said = await asked(query, forgiving=True)
    except TooManyTerms:
        return
    judge(said)


async def test_a_look_for_a_version() -> None:
    client = Asked()
    search = SimpleNamespace(options=client.options)
    await TenantIndex(search, "contacts", "acme").holds(contact_id="x", version=1)  # type: ignore[arg-type]
    (said,) = client.said
    assert said["request_cache"] is False
    assert {"term": {"tenant_id": "acme"}} in said["body"]["query"]["bool"]["filter"]
