"""contact.search over the real bus, on both engines: what is found and shown, and what is refused."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import orjson
import pytest

from ops.devstack import NatsServer
from storage.search.text import MOST_TERMS
from tests.conftest import Elasticsearch
from tests.helpers.applier import Applier
from tests.helpers.asker import Asker
from tests.helpers.searching import PEOPLE, asking_on, made


@pytest.fixture(scope="module")
async def people(writer: asyncpg.Connection) -> dict[str, str]:
    return await made(writer)


@pytest.fixture(scope="module")
async def namesakes(writer: asyncpg.Connection) -> None:
    """Tenant few: 19 called Meier and one Meyer. Tenant enough: 20 called Meier and one Meyer."""
    for tenant, count in (("few", 19), ("enough", 20)):
        applier = Applier(writer, tenant=tenant)
        for name in (*("Meier" for _ in range(count)), "Meyer"):
            await applier.send("contact.create", {"last_name": name, "identifiers": []})


@pytest.fixture(scope="module", params=["postgres", "elasticsearch"])
def server(request: pytest.FixtureRequest) -> Elasticsearch | None:
    """The Elasticsearch that answers; None: Postgres does."""
    return request.getfixturevalue("elasticsearch") if request.param == "elasticsearch" else None


@pytest.fixture(scope="module")
async def ask(
    server: Elasticsearch | None,
    database: str,
    bus: NatsServer,
    writer: asyncpg.Connection,
    people: dict[str, str],
    namesakes: None,
) -> AsyncIterator[Asker]:
    async with asking_on(server.url if server else None, database, bus.url, writer) as asker:
        yield asker


def names(answer: dict[str, Any]) -> list[str]:
    assert answer["success"], answer
    return [hit["external_id"] for hit in answer["data"]]


async def test_a_hit_is_the_contact_and_its_highlights(ask: Asker, people: dict[str, str]) -> None:
    answer = await ask("contact.search", q="web 0151 1234", sort_by="created_at")
    assert answer["data"] == []
    answer = await ask("contact.search", q="web")
    assert names(answer) == ["juergen", "ann"]
    ann = answer["data"][1]
    assert ann.pop("highlights") == {
        "last_name": ["<em>Web</em>er"],
        "display_name": ["Ann <em>Web</em>er"],
        "email": ["ann.<em>web</em>er@example.com"],
        "identifiers": ["ann.<em>web</em>er@example.com"],
    }
    assert ann == await ask.data("contact.get", contact={"id": people["ann"]})
    assert answer["data"][0]["highlights"] == {"company": ["<em>Web</em>er &amp; Söhne"]}
    assert answer["meta"] == {
        "engine": ask.engine,
        "forgiving": False,
        "total": 2,
        "total_is": "exact",
        "page": 1,
        "page_size": 20,
        "total_pages": 1,
        "next_cursor": None,
    }


GOLD = {"attributes.plan": "gold"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"q": "ann weber"}, ["ann"]),
        ({"q": "Weber, Ann"}, ["ann"]),
        ({"q": "muller"}, ["juergen"]),
        ({"q": "MÜLLER"}, ["juergen"]),
        ({"q": "ivan"}, ["ivan"]),
        ({"q": "0151 12345678"}, ["ann"]),
        ({"q": "+49 (0)151 1234"}, ["ann"]),
        ({"q": "004915112345"}, ["ann"]),
        ({"q": "web 15112", "filters": {"tags": ["vip"], "attributes.plan": "gold"}}, ["ann"]),
        ({"q": "@example.com"}, ["ann"]),
        ({"q": "evice-7"}, ["push"]),
        ({"q": "customer"}, []),
        ({"q": "a"}, ["ann"]),
        ({"q": "n"}, []),
        ({"q": "ann", "filters": {"status": "inactive"}}, []),
        ({"filters": {"status": "inactive"}}, ["juergen"]),
        ({"filters": {"source": "web-shop"}}, ["ann"]),
        ({"filters": {"source": "WEB-SHOP"}}, []),
        ({"filters": {"tags": ["vip", "newsletter"]}}, ["ivan", "juergen", "ann"]),
        ({"filters": {"tags": ["vip", "newsletter"], "tags_match": "all"}}, ["ann"]),
        ({"filters": {"tags": ["VIP"]}}, []),
        ({"filters": {"company": "Example GmbH"}}, ["ann"]),
        ({"filters": {"company": "Example"}}, []),
        ({"filters": GOLD}, ["ivan", "ann"]),
        ({"filters": {**GOLD, "tags": ["vip"]}}, ["ann"]),
        ({"filters": {"attributes.plan": "Gold"}}, []),
        ({"filters": {"attributes.seats": 5}}, ["ann"]),
        ({"filters": {"attributes.seats": 5.0}}, ["ann"]),
        ({"filters": {"attributes.seats": "5"}}, ["juergen"]),
        ({"filters": {"attributes.beta": True}}, ["ann"]),
        ({"filters": {"attributes.beta": 1}}, []),
        ({"filters": {"attributes.a.b": 1.5}}, ["ivan"]),
        ({"filters": {**GOLD, "attributes.seats": "5"}}, []),
        ({"filters": {"attributes.company": "Example GmbH", "company": "Example GmbH"}}, ["ann"]),
        ({"filters": {"created_after": "2100-01-01T00:00:00Z"}}, []),
        ({"filters": {"created_before": "2000-01-01T00:00:00Z"}}, []),
        ({"sort_by": "created_at"}, ["html", "push", "ivan", "juergen", "ann"]),
        ({"sort_by": "updated_at", "sort_order": "asc"}, ["ann", "juergen", "ivan", "push", "html"]),
        ({"sort_by": "display_name", "sort_order": "asc"}, ["html", "ann", "push", "juergen", "ivan"]),
        ({"sort_by": "display_name", "filters": {"tags": ["vip"]}}, ["juergen", "ann"]),
        ({"page": 2, "page_size": 2, "sort_by": "created_at"}, ["ivan", "juergen"]),
        ({"page": 50}, []),
        ({"q": " \t"}, ["html", "push", "ivan", "juergen", "ann"]),
        ({}, ["html", "push", "ivan", "juergen", "ann"]),
    ],
)
async def test_what_is_found(ask: Asker, fields: dict[str, Any], expected: list[str]) -> None:
    answer = await ask("contact.search", **fields)
    assert names(answer) == expected
    if "page" not in fields:
        assert (answer["meta"]["total"], answer["meta"]["total_is"]) == (len(expected), "exact")


async def test_bounds_of_time_leave_their_own_moment_out(ask: Asker) -> None:
    at = (await ask.data("contact.find", external_id="ivan"))["created_at"]
    for fields, expected in (
        ({"created_after": at}, ["html", "push"]),
        ({"created_before": at}, ["juergen", "ann"]),
    ):
        assert names(await ask("contact.search", filters=fields)) == expected


async def test_deleted_contacts_are_not_found(ask: Asker) -> None:
    assert names(await ask("contact.search", q="gone")) == []


async def test_the_tenant_is_the_subjects(ask: Asker) -> None:
    assert names(await ask("contact.search", "b", q="ann")) == ["ann-b"]
    assert names(await ask("contact.search", "nobody", q="ann")) == []


async def test_typing_errors_are_forgiven_where_little_is_found(ask: Asker) -> None:
    answer = await ask("contact.search", q="webr")
    assert (names(answer), answer["meta"]["forgiving"]) == (["juergen", "ann"], True)
    assert answer["data"][1]["highlights"] == {
        "last_name": ["<em>Weber</em>"],
        "display_name": ["Ann <em>Weber</em>"],
    }
    for tenant, forgiving in (("few", True), ("enough", False)):
        meta = (await ask("contact.search", tenant, q="meier"))["meta"]
        assert (meta["total"], meta["forgiving"]) == (20, forgiving)
    meta = (await ask("contact.search", q="ivan"))["meta"]
    assert (meta["total"], meta["forgiving"]) == (1, False)  # no typing error brings more


async def test_a_cursor_remembers_that_errors_are_forgiven(ask: Asker) -> None:
    first = await ask("contact.search", q="webr", page_size=1)
    second = await ask("contact.search", q="webr", page_size=1, cursor=first["meta"]["next_cursor"])
    assert names(first) + names(second) == ["juergen", "ann"]
    assert second["meta"]["forgiving"] is True
    assert second["meta"]["next_cursor"] is None
    assert second["meta"]["total"] == 2
    assert {"page", "total_pages"} & set(second["meta"]) == set()


async def test_highlights_are_html(ask: Asker) -> None:
    (hit,) = await ask.data("contact.search", q="bobby 100%")
    assert hit["highlights"]["first_name"] == ["&lt;b&gt;<em>Bobby</em>&lt;/b&gt;"]
    assert hit["highlights"]["last_name"] == ["O&#x27;Tables &amp; <em>100</em>%"]


# -- what is refused


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"q": "x" * 256}, "q"),
        ({"q": 7}, "q"),
        ({"q": "a\0b"}, "q"),
        ({"q": " ".join(str(n) + "x" for n in range(MOST_TERMS + 1))}, "q"),
        ({"query": "x"}, "query"),
        ({"filters": []}, "filters"),
        ({"filters": {"colour": "red"}}, "filters.colour"),
        ({"filters": {"attributes": {"plan": "gold"}}}, "filters.attributes"),
        ({"filters": {"attributes.company": "A", "company": "B"}}, "filters.company"),
        ({"filters": {"attributes.": "gold"}}, "filters.attributes."),
        ({"filters": {"attributes.plan": None}}, "filters.attributes.plan"),
        ({"filters": {"attributes.plan": ["gold"]}}, "filters.attributes.plan"),
        ({"filters": {"attributes.plan": {"a": 1}}}, "filters.attributes.plan"),
        ({"filters": {f"attributes.{n}": n for n in range(21)}}, "filters.attributes"),
        ({"filters": {"attributes.pl\0an": "gold"}}, "filters"),
        ({"filters": {"attributes.plan": "go\0ld"}}, "filters.attributes.plan"),
        ({"filters": {"tags": ["a", "b\0"]}}, "filters.tags.1"),
        ({"filters": {"status": "asleep"}}, "filters.status"),
        ({"filters": {"tags_match": "some"}}, "filters.tags_match"),
        ({"filters": {"created_after": "yesterday"}}, "filters.created_after"),
        ({"sort_by": "last_contact_at"}, "sort_by"),
        ({"sort_order": "up"}, "sort_order"),
        ({"page": 0}, "page"),
        ({"page_size": 101}, "page_size"),
        ({"page_size": 0}, "page_size"),
        ({"cursor": "forged"}, "cursor"),
        ({"wait_for": {"contact_id": "7", "version": 1}}, "wait_for.contact_id"),
        ({"wait_for": {"contact_id": str(uuid.uuid4())}}, "wait_for.version"),
        ({"wait_for": {"contact_id": str(uuid.uuid4()), "version": 2**63}}, "wait_for.version"),
        ({"wait_for": {"contact_id": str(uuid.uuid4()), "version": 0}}, "wait_for.version"),
    ],
)
async def test_a_refusal_names_the_field(ask: Asker, body: Any, field: str) -> None:
    answer = await ask.raw("query.contact.search.a", orjson.dumps(body))
    assert answer["error"]["code"] == "invalid", answer
    assert [error["field"] for error in answer["error"]["details"]["errors"]] == [field]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (rb'{"q": "a\ud800"}', "q"),
        (rb'{"q": "\uDC00"}', "q"),
        (rb'{"filters": {"source": "\ud83d"}}', "filters.source"),
        (rb'{"filters": {"attributes.\ud800": 1}}', "filters"),
        (rb'{"\ud800": 1}', "data"),
        (b'{"q": "\xff"}', "data"),
        (rb'{"q": "\ud800", "x": NaN}', "data"),
    ],
)
async def test_half_a_surrogate_pair_is_refused(ask: Asker, body: bytes, field: str) -> None:
    answer = await ask.raw("query.contact.search.a", body)
    assert answer["error"]["code"] == "invalid", answer
    assert [error["field"] for error in answer["error"]["details"]["errors"]] == [field]


async def test_a_text_that_is_nested_deeply_is_refused(ask: Asker) -> None:
    body = b'{"q": ' + b"[" * 900 + rb'"\u0000"' + b"]" * 900 + b"}"
    assert (await ask.raw("query.contact.search.a", body))["error"]["code"] == "invalid"


@pytest.mark.parametrize(
    "typed",
    [
        "*",
        "?",
        "%",
        "_",
        "%%%%%%%%",
        "a*",
        "*a*",
        "***",
        "ann AND NOT weber",
        "NOT",
        "OR",
        "last_name:weber",
        "*:*",
        "/.*/",
        "weber~2",
        "ann^100",
        "[a TO z]",
        "{",
        '"',
        '"ann weber"',
        "'; drop table contacts; --",
        "\\",
        "\\\\%",
        "$(reboot)",
        "<script>",
        "😀",
        "👩‍👩‍👧‍👦 ann",
        "مرحبا",
        "\u202eann\u202c",
        "שלום ann",
        "e\u0301",
        "\u200b",
        "\ufeff",
        "\n\r\t",
        "\x01\x02\x7f",
        "a" * 255,
        "ann " * 60,
        "(" * 255,
        "+" * 255,
        "0" * 255,
        "ﷺ" * 255,
    ],
)
async def test_whatever_is_typed_gets_an_answer(ask: Asker, typed: str) -> None:
    answer = await ask("contact.search", q=typed)
    assert answer["success"], answer
    assert answer["meta"]["engine"] == ask.engine
    assert answer["meta"]["total"] <= len(PEOPLE)
    listed = await ask("contact.list", search=typed)
    if listed["success"]:
        assert listed["meta"]["total"] == answer["meta"]["total"]
    else:
        assert not typed.strip()
    assert ask.problems == [] or ask.engine == "postgres"


async def test_what_elasticsearch_refuses_is_answered_and_harms_no_other_search(ask: Asker) -> None:
    """Folded it has a thousand letters, of which Elasticsearch takes no phrase."""
    assert (await ask("contact.search", q="㍿" * 255))["meta"]["total"] == 0
    assert (await ask("contact.search", q="ann"))["meta"]["engine"] == ask.engine


async def test_ten_kilobytes_are_refused(ask: Asker) -> None:
    error = await ask.error("contact.search", q="ann " * 2500)
    assert error["code"] == "invalid"
    assert [e["field"] for e in error["details"]["errors"]] == ["q"]
