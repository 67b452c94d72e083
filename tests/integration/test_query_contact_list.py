"""contact.list over the real bus: filters, orders, pages, totals."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from tests.helpers import seed
from tests.helpers.asker import Asker


@pytest.fixture(scope="module", autouse=True)
async def people(writer: asyncpg.Connection) -> None:
    """Tenant a: five contacts, one of them deleted, one a redirect. Tenant b: one."""
    ada = await seed.contact(
        writer,
        "a",
        external_id="ada",
        display_name="Ada 100%",
        email="ada@example.org",
        search_text="\n ada 100% \n ada 100 \n ada@example.org \n ada \n",
        source="import",
        created_at=seed.at(1),
        updated_at=seed.at(40),
        last_contact_at=seed.at(7),
    )
    await seed.identifier(writer, "a", ada, "email", "ada@example.org")
    await seed.tag(writer, "a", ada, "vip", "berlin")
    bob = await seed.contact(
        writer,
        "a",
        external_id="bob",
        display_name="Bob_by",
        search_text="\n bob_by \n bob by \n +4915112345678 \n bob \n",
        phone="+4915112345678",
        status="blocked",
        created_at=seed.at(2),
        updated_at=seed.at(30),
        last_contact_at=seed.at(9),
    )
    await seed.identifier(writer, "a", bob, "sms", "+4915112345678", raw="0151 12345678")
    await seed.tag(writer, "a", bob, "vip")
    cleo = await seed.contact(
        writer,
        "a",
        external_id="cleo",
        search_text="\n psid-77 \n cleo \n",
        created_at=seed.at(3),
        updated_at=seed.at(20),
    )
    await seed.identifier(writer, "a", cleo, "messenger", "psid-77")
    await seed.contact(
        writer,
        "a",
        external_id="dan",
        display_name="Ada Dan",
        search_text="\n ada dan \n dan \n",
        created_at=seed.at(4),
        deleted_at=seed.at(5),
    )
    await seed.contact(
        writer,
        "a",
        external_id="eve",
        display_name="Ada too",
        search_text="\n ada too \n eve \n",
        created_at=seed.at(5),
        merged_into=ada,
    )
    other = await seed.contact(
        writer, "b", external_id="ada-b", display_name="Ada B", search_text="\n ada b \n ada-b \n"
    )
    await seed.tag(writer, "b", other, "vip")


def names(contacts: list[dict[str, Any]]) -> list[str]:
    return [contact["external_id"] for contact in contacts]


async def test_newest_first_without_deleted_and_redirects(ask: Asker) -> None:
    answer = await ask("contact.list")
    assert names(answer["data"]) == ["cleo", "bob", "ada"]
    assert answer["meta"] == {
        "page": 1,
        "page_size": 20,
        "total": 3,
        "total_is": "exact",
        "total_pages": 1,
        "next_cursor": None,
    }
    assert answer["data"][2]["tags"] == ["berlin", "vip"]
    assert [i["identifier"] for i in answer["data"][2]["identifiers"]] == ["ada@example.org"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"include_deleted": True}, ["dan", "cleo", "bob", "ada"]),
        ({"status": "blocked"}, ["bob"]),
        ({"source": "import"}, ["ada"]),
        ({"source": "nowhere"}, []),
        ({"tags": ["vip"]}, ["bob", "ada"]),
        ({"tags": ["vip", "berlin"]}, ["bob", "ada"]),
        ({"tags": ["vip", "berlin"], "tags_match": "all"}, ["ada"]),
        ({"tags": ["vip", "unknown"], "tags_match": "all"}, []),
        ({"tags": ["unknown"]}, []),
        ({"created_after": seed.at(1).isoformat()}, ["cleo", "bob"]),
        ({"created_before": seed.at(3).isoformat()}, ["bob", "ada"]),
        ({"created_after": seed.at(1).isoformat(), "created_before": seed.at(3).isoformat()}, ["bob"]),
        ({"updated_after": seed.at(20).isoformat()}, ["bob", "ada"]),
        ({"last_contact_before": seed.at(9).isoformat()}, ["ada"]),
        ({"has_email": True}, ["ada"]),
        ({"has_email": False}, ["cleo", "bob"]),
        ({"has_phone": True}, ["bob"]),
        ({"has_phone": False}, ["cleo", "ada"]),
        ({"has_email": False, "has_phone": False}, ["cleo"]),
        ({"search": "ADA"}, ["ada"]),
        ({"search": "100%"}, ["ada"]),
        ({"search": "0%"}, []),
        ({"search": "%"}, []),
        ({"search": "b_b"}, ["bob"]),
        ({"search": "_"}, []),
        ({"search": "\\"}, []),
        ({"search": "ada@ex"}, ["ada"]),
        ({"search": "0151 1234"}, ["bob"]),
        ({"search": "+49 151 12345"}, ["bob"]),
        ({"search": "psid-7"}, ["cleo"]),
        ({"search": "sid-7"}, ["cleo"]),
        ({"search": "' or true --"}, []),
        ({"sort_by": "created_at", "sort_order": "asc"}, ["ada", "bob", "cleo"]),
        ({"sort_by": "updated_at"}, ["ada", "bob", "cleo"]),
        ({"sort_by": "updated_at", "sort_order": "asc"}, ["cleo", "bob", "ada"]),
        ({"sort_by": "last_contact_at"}, ["bob", "ada", "cleo"]),
        ({"sort_by": "last_contact_at", "sort_order": "asc"}, ["ada", "bob", "cleo"]),
        ({"sort_by": "display_name"}, ["bob", "ada", "cleo"]),
        ({"sort_by": "display_name", "sort_order": "asc"}, ["ada", "bob", "cleo"]),
        ({"page": 2, "page_size": 2}, ["ada"]),
        ({"page": 9, "page_size": 100}, []),
    ],
)
async def test_what_a_list_shows(ask: Asker, fields: dict[str, Any], expected: list[str]) -> None:
    answer = await ask("contact.list", **fields)
    assert answer["success"], answer
    assert names(answer["data"]) == expected
    if "page" not in fields:
        assert answer["meta"]["total"] == len(expected)
        assert (await ask("contact.list", **fields, count="exact"))["meta"]["total"] == len(expected)


async def test_pages_count(ask: Asker) -> None:
    meta = (await ask("contact.list", page=2, page_size=2))["meta"]
    assert (meta["page"], meta["page_size"], meta["total"], meta["total_pages"]) == (2, 2, 3, 2)
    meta = (await ask("contact.list", status="inactive"))["meta"]
    assert (meta["total"], meta["total_pages"]) == (0, 0)


async def test_page_and_cursor_exclude_each_other(ask: Asker) -> None:
    cursor = (await ask("contact.list", page_size=1))["meta"]["next_cursor"]
    assert await ask.code("contact.list", page=2, cursor=cursor) == "invalid"


ORDERS = [
    (by, order)
    for by in ("created_at", "updated_at", "last_contact_at", "display_name")
    for order in ("asc", "desc")
]


@pytest.fixture(scope="module")
async def crowd(writer: asyncpg.Connection) -> list[dict[str, Any]]:
    """Tenant c: 40 contacts with many equal values and many nulls, in no order."""
    rows = []
    for n in range(40):
        row = {
            "created_at": seed.at(n % 7),
            "updated_at": seed.at(n % 5),
            "last_contact_at": seed.at(n % 3) if n % 4 else None,
            "display_name": f"Name {n % 6}" if n % 3 else None,
        }
        rows.append({"id": str(await seed.contact(writer, "c", **row)), **row})
    return rows


def in_order(rows: list[dict[str, Any]], by: str, order: str) -> list[str]:
    """Nulls last either way; equal values by id, the same way round."""
    down = order == "desc"
    valued = sorted((r for r in rows if r[by] is not None), key=lambda r: (r[by], r["id"]), reverse=down)
    return [
        r["id"]
        for r in valued + sorted((r for r in rows if r[by] is None), key=lambda r: r["id"], reverse=down)
    ]


@pytest.mark.parametrize(("by", "order"), ORDERS)
@pytest.mark.parametrize("size", [1, 7, 100])
async def test_cursors_walk_every_order_once(
    ask: Asker, crowd: list[dict[str, Any]], by: str, order: str, size: int
) -> None:
    walked: list[str] = []
    fields: dict[str, Any] = {"sort_by": by, "sort_order": order, "page_size": size}
    while True:
        answer = await ask("contact.list", "c", **fields)
        assert answer["success"], answer
        walked += [contact["id"] for contact in answer["data"]]
        if answer["meta"]["next_cursor"] is None:
            break
        fields["cursor"] = answer["meta"]["next_cursor"]
    assert walked == in_order(crowd, by, order)


@pytest.mark.parametrize(("by", "order"), ORDERS)
async def test_pages_walk_every_order_once(
    ask: Asker, crowd: list[dict[str, Any]], by: str, order: str
) -> None:
    walked: list[str] = []
    for page in range(1, 7):
        data = await ask.data("contact.list", "c", sort_by=by, sort_order=order, page_size=7, page=page)
        walked += [contact["id"] for contact in data]
    assert walked == in_order(crowd, by, order)


async def test_a_cursor_holds_while_contacts_come(ask: Asker, writer: asyncpg.Connection) -> None:
    for n in range(4):
        await seed.contact(writer, "d", external_id=f"d{n}", created_at=seed.at(n))
    first = await ask("contact.list", "d", page_size=2)
    await seed.contact(writer, "d", external_id="late", created_at=seed.at(9))
    second = await ask("contact.list", "d", page_size=2, cursor=first["meta"]["next_cursor"])
    assert names(first["data"]) + names(second["data"]) == ["d3", "d2", "d1", "d0"]
    assert second["meta"] == {"page_size": 2, "next_cursor": None}


async def test_a_cursor_serves_only_the_list_that_gave_it(ask: Asker, crowd: list[dict[str, Any]]) -> None:
    cursor = (await ask("contact.list", "c", page_size=5))["meta"]["next_cursor"]
    flipped = cursor[:20] + ("A" if cursor[20] != "A" else "B") + cursor[21:]
    for tenant, fields in (
        ("b", {"cursor": cursor}),
        ("c", {"cursor": cursor, "sort_by": "updated_at"}),
        ("c", {"cursor": cursor, "sort_order": "asc"}),
        ("c", {"cursor": cursor, "has_email": False}),
        ("c", {"cursor": cursor[1:]}),
        ("c", {"cursor": flipped}),
        ("c", {"cursor": cursor[:-1] + "é"}),
        ("c", {"cursor": ""}),
    ):
        error = await ask.error("contact.list", tenant, **fields)
        assert error["code"] == "invalid"
        assert [e["field"] for e in error["details"]["errors"]] == ["cursor"]
    assert (
        len(await ask.data("contact.list", "c", cursor=cursor, page_size=50)) == 35
    )  # another size is no other list


async def test_totals_are_exact_to_ten_thousand(ask: Asker, writer: asyncpg.Connection) -> None:
    await writer.execute(
        "insert into contacts (tenant_id, id, created_at, updated_at, version, timeline_sequence) "
        "select 'many', gen_random_uuid(), $1::timestamptz + n * interval '1 second', $1, 1, 0 "
        "from generate_series(1, 10001) n",
        seed.START,
    )
    meta = (await ask("contact.list", "many"))["meta"]
    assert (meta["total"], meta["total_is"], meta["total_pages"]) == (10_000, "at_least", 500)
    meta = (await ask("contact.list", "many", count="exact"))["meta"]
    assert (meta["total"], meta["total_is"], meta["total_pages"]) == (10_001, "exact", 501)
    await writer.execute(
        "delete from contacts where tenant_id = 'many' and created_at <= $1", seed.at(1 / 60)
    )
    meta = (await ask("contact.list", "many"))["meta"]
    assert (meta["total"], meta["total_is"]) == (10_000, "exact")


@pytest.mark.parametrize(
    ("name", "fields"),
    [("contact.list", {}), ("contact.list", {"search": "long"}), ("contact.search", {"q": "long"})],
)
async def test_the_longest_cursor_is_taken(
    ask: Asker, writer: asyncpg.Connection, name: str, fields: dict[str, Any]
) -> None:
    tenant = f"long{name[-4:]}{len(fields)}"
    for _ in range(3):
        await seed.contact(writer, tenant, display_name="\x01" * 255, search_text="\n long \n")
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    for _ in range(3):
        page = await ask(name, tenant, sort_by="display_name", page_size=1, **fields, **cursor)
        assert page["success"], page
        seen += [contact["id"] for contact in page["data"]]
        cursor = {"cursor": page["meta"]["next_cursor"]}
    assert len(set(seen)) == 3
    assert cursor == {"cursor": None}
