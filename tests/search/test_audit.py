"""The audit on real servers: each kind of difference, what mends it, and what only looks like one."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from storage.contacts import ContactKey
from storage.search import audit as module
from storage.search.audit import audit
from storage.search.elastic import entries as of_elastic
from storage.search.elastic import mapping, patience
from storage.search.elastic.bulk import Retry, write_alias
from storage.search.elastic.connection import connect as connect_search
from storage.search.elastic.documents import Document
from storage.search.elastic.entries import Entries
from storage.search.elastic.indexes import Gone
from storage.search.findings import KINDS, Entry, Kind, Report, Row, judge, judge_again
from tests.eventually import eventually
from tests.helpers.beside import beside
from tests.helpers.shelf import DELETED, Shelf


def tenant() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


def foreign(key: ContactKey, version: int = 1, *, deleted: bool = False) -> Document:
    """A document of nothing but what every document has."""
    source = {"tenant_id": key[0], "contact_id": str(key[1]), "version": version, "deleted": deleted}
    return Document(*key, version, source)


def kinds(report: Report) -> dict[str, int]:
    found = {kind: getattr(report, kind) for kind in KINDS}
    return {kind: count for kind, count in found.items() if count}


@pytest.fixture
async def index(shelf: Shelf) -> str:
    return await shelf.index()


# -- what differs


async def missing(shelf: Shelf, index: str) -> ContactKey:
    return await shelf.contact(tenant())


async def extra(shelf: Shelf, index: str) -> ContactKey:
    key = (tenant(), uuid7())
    await shelf.write(index, foreign(key))
    return key


async def extra_beside_others(shelf: Shelf, index: str) -> ContactKey:
    name = tenant()
    await shelf.put(index, *await shelf.contacts(name, 3))
    await shelf.write(index, foreign((name, uuid7())))
    return name, uuid7()


async def extra_though_deleted(shelf: Shelf, index: str) -> ContactKey:
    key = (tenant(), uuid7())
    await shelf.write(index, foreign(key, deleted=True))
    return key


async def merged(shelf: Shelf, index: str) -> ContactKey:
    survivor, key = await shelf.contacts(tenant(), 2)
    await shelf.put(index, survivor, key)
    await shelf.change(key, merged_into=survivor[1])
    return key


async def stale(shelf: Shelf, index: str) -> ContactKey:
    key = await shelf.contact(tenant())
    await shelf.put(index, key)
    await shelf.change(key, status="blocked")
    return key


async def deleted_here(shelf: Shelf, index: str) -> ContactKey:
    key = await shelf.contact(tenant())
    await shelf.put(index, key)
    await shelf.delete(key)
    return key


async def deleted_there(shelf: Shelf, index: str) -> ContactKey:
    key = await shelf.contact(tenant())
    await shelf.write(index, foreign(key, deleted=True))
    return key


async def deleted_before(shelf: Shelf, index: str) -> ContactKey:
    """A late write of a version in between would bring it back."""
    key = await shelf.contact(tenant(), deleted_at=DELETED)
    await shelf.put(index, key)
    await shelf.change(key)
    return key


MENDED: list[tuple[str, Callable[[Shelf, str], Awaitable[ContactKey]]]] = [
    ("missing", missing),
    ("extra", extra),
    ("extra", extra_beside_others),
    ("extra", extra_though_deleted),
    ("extra", merged),
    ("stale", stale),
    ("stale", deleted_here),
    ("stale", deleted_there),
    ("stale", deleted_before),
]


@pytest.mark.parametrize(("kind", "make"), MENDED, ids=lambda given: getattr(given, "__name__", given))
@pytest.mark.parametrize("of", ["all", "one"])
async def test_a_difference_is_found_and_mended(shelf: Shelf, index: str, kind: str, make: Any, of: str):
    await shelf.put(index, *await shelf.contacts(tenant(), 2))
    whose = (await make(shelf, index))[0]
    asked = whose if of == "one" else None
    report = await shelf.audit(index, asked)
    assert (kinds(report), report.mended, report.agrees) == ({kind: 1}, 0, False)
    (example,) = report.examples
    assert (example.kind, example.tenant_id) == (kind, whose)

    report = await shelf.audit(index, asked, repair=True)
    assert (kinds(report), report.mended, report.agrees) == ({kind: 1}, 1, True)
    report = await shelf.audit(index)
    assert (report.found, report.examples) == (0, [])


async def test_what_is_ahead_is_not_mended(shelf: Shelf, index: str):
    key = await shelf.contact(tenant())
    await shelf.put(index, key)
    await shelf.write(index, foreign(key, 7))
    for repair in (False, True):
        report = await shelf.audit(index, repair=repair)
        assert (kinds(report), report.mended, report.agrees) == ({"ahead": 1}, 0, False)
    (example,) = report.examples
    assert (example.version, example.indexed) == (1, 7)


async def test_what_agrees(shelf: Shelf, index: str):
    name = tenant()
    plain, deleted, survivor, redirect = await shelf.contacts(name, 4)
    await shelf.delete(deleted)
    await shelf.change(redirect, merged_into=survivor[1])
    await shelf.put(index, plain, deleted, survivor, redirect)
    await shelf.contact(name, deleted_at=DELETED)  # and no document: a rebuild leaves it out
    await shelf.contact(name, merged_into=survivor[1])
    for asked in (None, name):
        report = await shelf.audit(index, asked)
        assert (report.checked, report.found, report.agrees) == (6, 0, True)


async def test_of_one_tenant_alone(shelf: Shelf, index: str):
    one, other = tenant(), tenant()
    await shelf.contact(other)
    await shelf.write(index, foreign((other, uuid7())))
    key = await shelf.contact(one)
    report = await shelf.audit(index, one, repair=True)
    assert (kinds(report), report.checked) == ({"missing": 1}, 1)
    assert await shelf.entry(index, key)
    assert kinds(await shelf.audit(index)) == {"missing": 1, "extra": 1}


async def test_what_is_mended_is_what_postgres_holds(shelf: Shelf, index: str):
    name = tenant()
    late, gone, redirect = await shelf.contacts(name, 3)
    await shelf.put(index, late, gone, redirect)
    await shelf.change(late, status="blocked")
    await shelf.delete(gone)
    await shelf.change(redirect, merged_into=late[1])
    assert (await shelf.audit(index, repair=True)).mended == 3
    entries = [await shelf.entry(index, key) for key in (late, gone, redirect)]
    assert [(e["_version"], e["deleted"], e.get("status")) for e in entries if e] == [
        (2, False, "blocked"),
        (2, True, None),
        (2, True, None),
    ]


async def test_no_more_than_twenty_examples(shelf: Shelf, index: str):
    await shelf.contacts(tenant(), 25)
    report = await shelf.audit(index)
    assert (report.missing, len(report.examples)) == (25, 20)


# -- what only looks like a difference


async def test_what_is_on_its_way_is_no_finding(shelf: Shelf, index: str, monkeypatch: pytest.MonkeyPatch):
    """The index follows, a moment behind."""
    keys = await shelf.contacts(tenant(), 5)
    await shelf.put(index, *keys)
    differed = 0  # also at the second look
    changed = followed = 0

    def watched(before: Row | None, row: Row | None, entry: Entry | None) -> Kind | None:
        nonlocal differed
        differed += judge(row, entry) is not None
        return judge_again(before, row, entry)

    monkeypatch.setattr(module, "judge_again", watched)
    look_again = module._Audit._look_again

    async def in_time(audit: Any, noted: Any) -> None:
        """The index follows within the moment, however long that takes here; and is behind again."""
        followed_before = followed
        await eventually(lambda: changed > followed >= followed_before + 2, interval=0.005)
        await look_again(audit, noted)

    monkeypatch.setattr(module._Audit, "_look_again", in_time)

    async def follow() -> None:
        nonlocal changed, followed
        await shelf.change(*keys)
        changed += 1
        await asyncio.sleep(0.1)
        await shelf.put(index, *keys)
        followed += 1

    async with beside(follow):
        while differed < 10:
            report = await shelf.audit(index)
            assert (report.found, report.examples) == (0, [])


async def test_what_stays_behind_is_one_however_it_changes(shelf: Shelf, index: str):
    key = await shelf.contact(tenant())
    await shelf.put(index, key)
    await shelf.change(key)

    async def change() -> None:
        await shelf.change(key)
        await asyncio.sleep(0.01)

    async with beside(change):
        report = await shelf.audit(index, moment=0.3)
    assert kinds(report) == {"stale": 1}


async def test_what_comes_between_the_looks_is_no_finding(
    shelf: Shelf, index: str, monkeypatch: pytest.MonkeyPatch
):
    looked, changed = asyncio.Event(), asyncio.Event()
    first = 0.0
    look_again = module._Audit._look_again

    def watched(row: Row | None, entry: Entry | None) -> Kind | None:
        nonlocal first
        first = first or time.monotonic()
        looked.set()
        return judge(row, entry)

    async def later(audit: Any, noted: Any) -> None:
        assert time.monotonic() - first >= 0.3
        await changed.wait()  # which may take longer than the moment
        await look_again(audit, noted)

    monkeypatch.setattr(module, "judge", watched)
    monkeypatch.setattr(module._Audit, "_look_again", later)
    name = tenant()
    late = await shelf.contact(name)
    key = (name, uuid7())
    await shelf.write(index, foreign(key))
    auditing = asyncio.create_task(shelf.audit(index, moment=0.3))
    await looked.wait()
    await shelf.put(index, late)  # was missing
    await shelf.contact(name, id=key[1])  # was committed later than it was read
    changed.set()
    report = await auditing
    assert (report.found, report.checked) == (0, 1)


async def test_what_changes_while_it_is_mended_stays(shelf: Shelf, index: str):
    """Of a document that is to be taken out: only as it was seen."""
    key = (tenant(), uuid7())
    await shelf.write(index, foreign(key, 1))
    entries = Entries(shelf.search, index)
    (_, place) = (await entries.present([key]))[key]
    await shelf.write(index, foreign(key, 2))
    assert await entries.remove({key: place}) == 0
    entry = await shelf.entry(index, key)
    assert entry
    assert entry["_version"] == 2


@pytest.mark.parametrize(
    ("before", "row", "entry", "kind"),
    [
        (Row(1, False, False), Row(3, False, False), Entry(2, False), None),
        (Row(2, False, False), Row(3, False, False), Entry(1, False), "stale"),
        (Row(1, False, False), Row(3, False, False), Entry(3, False), None),
        (Row(1, False, False), Row(2, False, False), None, "missing"),
        (Row(1, True, False), Row(2, False, False), None, None),  # it has only just been restored
        (Row(1, False, False), Row(2, True, False), Entry(1, False), None),  # or deleted
        (None, Row(2, False, False), Entry(1, False), None),  # or made
        (Row(1, False, False), None, Entry(1, False), None),  # or removed
        (None, None, Entry(1, False), "extra"),
        (Row(1, False, False), Row(1, False, False), Entry(2, False), "ahead"),
        (Row(1, False, True), Row(1, False, True), Entry(1, False), "extra"),
    ],
)
def test_the_second_look(before: Row | None, row: Row | None, entry: Entry | None, kind: Kind | None):
    assert judge_again(before, row, entry) == kind


# -- many


@pytest.mark.parametrize("chunk", [1, 2, 3, 4])
@pytest.mark.parametrize("of", ["all", "one"])
async def test_at_the_edges_of_chunks(
    shelf: Shelf, index: str, chunk: int, of: str, monkeypatch: pytest.MonkeyPatch
):
    """Documents of no contact before, between and behind the contacts of a tenant."""
    monkeypatch.setattr(module, "CHUNK", chunk)
    for name in (f"a-{tenant()}", f"b-{tenant()}"):
        for _ in range(3):
            await shelf.write(index, foreign((name, uuid7())))
            await shelf.put(index, await shelf.contact(name))
        await shelf.write(index, foreign((name, uuid7())))
    report = await shelf.audit(index, name if of == "one" else None, moment=0)
    assert kinds(report) == {"extra": 4 if of == "one" else 8}


@pytest.mark.parametrize("seed", range(4))
async def test_among_many(shelf: Shelf, index: str, seed: int, monkeypatch: pytest.MonkeyPatch):
    """Whatever lies at the edges of chunks and pages. Names of tenants that a locale sorts in an order of its own."""
    for name, most in (("CHUNK", 7), ("LOOK", 3), ("MOST_NOTED", 4)):
        monkeypatch.setattr(module, name, most)
    for name, most in (("PAGE", 5), ("TENANTS", 4)):
        monkeypatch.setattr(of_elastic, name, most)
    chance = random.Random(seed)
    end = uuid.uuid4().hex[:6]
    names = [f"{name}{end}" for name in ("a", "A", "a-b", "aB", "a_b", "B", "b", "Z-", "zz")]
    expected: Counter[str] = Counter()
    for name in names:
        for _ in range(chance.choice((0, 1, 7, 8, 20))):
            fate = chance.choice(("well",) * 6 + ("missing", "stale", "deleted", "extra"))
            if fate == "extra":
                await shelf.write(index, foreign((name, uuid7())))
            else:
                key = await shelf.contact(name)
                if fate != "missing":
                    await shelf.put(index, key)
                if fate == "stale":
                    await shelf.change(key)
                elif fate == "deleted":
                    await shelf.delete(key)
                    await shelf.put(index, key)
            expected[fate] += 1
    for stranger in range(6):  # tenants of which there is nothing but documents
        for _ in range(stranger):
            await shelf.write(index, foreign((f"x{stranger}{end}", uuid7())))
            expected["extra"] += 1
    wanted = {kind: expected[kind] for kind in KINDS if expected[kind]}
    contacts = expected.total() - expected["extra"]
    report = await shelf.audit(index, moment=0)
    assert (kinds(report), report.checked) == (wanted, contacts)
    report = await shelf.audit(index, repair=True, moment=0)
    assert (kinds(report), report.mended) == (wanted, sum(wanted.values()))
    assert not (await shelf.audit(index, moment=0)).found


# -- what stands in the way


async def test_what_the_index_does_not_take(shelf: Shelf):
    index = f"{shelf.alias}-strict"
    body = mapping.body(1)
    body["mappings"]["properties"] |= {"source": {"type": "long"}}
    await shelf.search.indices.create(index=index, aliases={write_alias(index): {}}, **body)
    name = tenant()
    await shelf.contact(name, source="web")
    good = await shelf.contact(name, source="7")
    report = await shelf.audit(index, repair=True)
    assert (kinds(report), report.mended, report.refused) == ({"missing": 2}, 1, 1)
    assert not report.agrees
    assert await shelf.entry(index, good)


async def test_an_index_that_is_gone(shelf: Shelf):
    with pytest.raises(Gone):
        await shelf.audit(f"{shelf.alias}-none")


async def test_an_index_without_its_alias_is_not_mended(shelf: Shelf, index: str):
    """It has been given up: a write by its own name would make a new one if it was dropped."""
    one, other = tenant(), tenant()
    await shelf.contact(one)
    await shelf.write(index, foreign((other, uuid7())))
    await shelf.search.indices.delete_alias(index=index, name=write_alias(index))
    for name in (one, other):
        with pytest.raises(Gone):
            await shelf.audit(index, name, repair=True)


async def test_a_server_out_of_reach(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(patience, "PATIENCE", 0.5)
    client = connect_search("http://127.0.0.1:1")
    with pytest.raises(Retry):
        await audit(shelf.writer, client, "any")
    await client.close()
