"""A cursor goes on where it is, whoever answers."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from tests.helpers.applier import Applier
from tests.helpers.engines import Begin, names


@pytest.mark.parametrize("first", ["elasticsearch", "postgres"])
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("by", ["relevance", "created_at", "updated_at", "display_name"])
async def test_a_cursor_of_one_engine_goes_on_with_the_other(
    begin: Begin, applier: Applier, by: str, order: str, first: str
) -> None:
    for name in ("Änne Ann", "ann", "Annika", "Joanna", "Ann Ann", "Zoë Ann-Sofie", "Annb", None):
        fields = (
            {"first_name": name} if name else {"identifiers": [{"channel": "push", "identifier": "ann-1"}]}
        )
        await applier.send("contact.create", {"external_id": f"x-{name}", **fields})
    stage = await begin()
    whole = names(await stage.search(sort_by=by, sort_order=order, page_size=100))
    assert len(whole) == 11
    walked: list[str] = []
    cursor, engine = None, first
    while True:
        stage.door.mode = "open" if engine == "elasticsearch" else "unavailable"
        await stage.answers(engine)
        fields = {"cursor": cursor} if cursor else {}
        answer = await stage.search(sort_by=by, sort_order=order, page_size=4, **fields)
        assert answer["meta"]["engine"] == engine
        walked += names(answer)
        cursor = answer["meta"]["next_cursor"]
        if cursor is None:
            break
        engine = "postgres" if engine == "elasticsearch" else "elasticsearch"
    assert walked == whole


async def test_a_cursor_goes_on_past_ten_thousand_whoever_answers(
    begin: Begin, writer: asyncpg.Connection, applier: Applier
) -> None:
    await writer.execute(
        "insert into contacts (tenant_id, id, search_text, created_at, updated_at, version, timeline_sequence, status) "
        "select $1, gen_random_uuid(), case when n % 2 = 0 then e'\n crowd \n' else e'\n crowded \n' end, now(), now(), "
        "1, 0, 'active' from generate_series(1, 10300) n",
        applier.tenant,
    )
    stage = await begin()
    walked: list[str] = []
    fields: dict[str, Any] = {"page": 100}
    for engine in ("elasticsearch", "postgres", "elasticsearch", "postgres"):
        stage.door.mode = "open" if engine == "elasticsearch" else "unavailable"
        await stage.answers(engine)
        answer = await stage.search(q="crowd", page_size=100, **fields)
        assert answer["meta"]["engine"] == engine
        walked += [hit["id"] for hit in answer["data"]]
        fields = {"cursor": answer["meta"]["next_cursor"]}
    assert fields == {"cursor": None}
    rows = await writer.fetch(
        "select id::text from contacts where tenant_id = $1 and search_text like '% crowd%' "
        "order by length(search_text), id desc offset 9900",
        applier.tenant,
    )
    assert walked == [row["id"] for row in rows]


async def test_hits_that_postgres_has_not_ranked_are_gone_on_with_there(
    begin: Begin, writer: asyncpg.Connection, applier: Applier
) -> None:
    await writer.execute(
        "insert into contacts (tenant_id, id, search_text, created_at, updated_at, version, timeline_sequence, status) "
        "select $1, gen_random_uuid(), e'\n crowd \n', now(), now(), 1, 0, 'active' from generate_series(1, 10020) n",
        applier.tenant,
    )
    stage = await begin()
    stage.door.mode = "unavailable"
    await stage.answers("postgres")
    first = await stage.search(q="crowd", page=100, page_size=100)
    stage.door.mode = "open"
    await stage.answers("elasticsearch")
    asked = stage.asked
    rest = await stage.search(q="crowd", page_size=100, cursor=first["meta"]["next_cursor"])
    assert (len(rest["data"]), rest["meta"]["engine"]) == (20, "postgres")
    assert stage.asked == asked
    assert not {hit["id"] for hit in first["data"]} & {hit["id"] for hit in rest["data"]}
