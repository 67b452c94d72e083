"""The indexer on real servers: what has changed is indexed, whatever comes when and however often; nothing else is lost."""

from __future__ import annotations

import asyncio
import os

import pytest

from ops.health import Degraded
from ops.settings import SettingsError
from storage.search.elastic import bulk, documents
from tests.eventually import eventually
from tests.helpers import front
from tests.helpers.forked import rollcall
from tests.helpers.front import Front, Gate
from tests.helpers.indexing import Ground
from workers.indexer import changes, writer
from workers.indexer.changes import contact_of
from workers.indexer.service import Indexer
from workers.jetstream import api


@pytest.fixture
def in_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been told already, as far as it goes: a batch waits longer for the rest of it."""
    monkeypatch.setattr(changes, "LINGER", 0.5)


# -- what is indexed


async def test_every_change_of_a_contact(ground: Ground):
    await ground.live()
    contact_id = await ground.make(first_name="Maria", email="m@acme.example", tags=["vip"])
    async with ground.indexing():
        await ground.tell()
        await ground.rest()
        document = await ground.document(contact_id)
        assert document
        assert (document["_version"], document["deleted"], document["tags"]) == (1, False, ["vip"])
        await ground.change("update", contact_id, set={"first_name": "Mario", "tags": []})
        await ground.tell()
        await ground.rest()
        document = await ground.document(contact_id)
        assert document
        assert (document["_version"], document["tags"], "mario" in document["words"]) == (2, [], True)
        await ground.change("delete", contact_id)
        await ground.tell()
        await ground.rest()
        document = await ground.document(contact_id)
        assert document
        assert (document["_version"], document["deleted"], "words" in document) == (3, True, False)
        await ground.change("restore", contact_id)
        await ground.tell()
        await ground.rest()
        document = await ground.document(contact_id)
        assert document
        assert (document["_version"], document["deleted"], "mario" in document["words"]) == (4, False, True)
        await ground.agrees()
    assert await ground.letters() == []


async def test_events_out_of_order_and_repeated(ground: Ground):
    await ground.live()
    contacts = [await ground.make(first_name=f"Maria {n}") for n in range(3)]
    for contact_id in contacts:
        for n in range(5):
            await ground.change("update", contact_id, set={"last_name": f"Name {n}"})
    await ground.change("delete", contacts[0])
    events = ground.untold()
    async with ground.indexing():
        await ground.tell(reversed(events))
        await ground.rest()
        await ground.agrees()
        await ground.tell([events[0], *events[::2], *reversed(events[:7])])
        await ground.rest()
        await ground.agrees()
    deleted, kept = [await ground.document(contact_id) for contact_id in contacts[:2]]
    assert deleted
    assert kept
    assert (deleted["_version"], deleted["deleted"]) == (7, True)
    assert (kept["_version"], kept["deleted"]) == (6, False)


async def test_what_changes_no_contact_is_passed_over(ground: Ground):
    await ground.live()
    contact_id = await ground.make(first_name="Maria")
    recorded = await ground.send("timeline.record", {"contact": {"id": str(contact_id)}, "type": "x"})
    await ground.send("timeline.mark_read", {"event_ids": [recorded.details["timeline_event_id"]]})
    await ground.send("contact.create", {"phone": "nothing"})
    events = ground.untold()
    marked, refused = [event["on"] for event in events[-2:]]
    assert marked == f"contact.timeline_changed.{ground.tenant}.{contact_id}"
    assert refused == f"contact.rejected.{ground.tenant}.-"
    assert contact_of(marked) is contact_of(refused) is None
    odd = [
        "contact.rejected.acme.-",
        "contact.odd.acme.no-uuid",
        "contact.odd",
        f"contact.updated.acme.{contact_id}.x",
    ]
    async with ground.indexing():
        await ground.tell([*events, *({"on": subject} for subject in odd)])
        await ground.rest()
        assert await ground.document(contact_id)
        await ground.agrees()


async def test_two_indexers_share_the_events(ground: Ground):
    await ground.live()
    async with Front.open(ground.search_url) as one, Front.open(ground.search_url) as other:
        gates = [Gate(), Gate()]
        one.rules.append(gates[0])
        other.rules.append(gates[1])
        contacts = await ground.make_many(1200)
        await ground.tell()
        async with (
            ground.indexing(elasticsearch_url=one.url),
            ground.indexing(elasticsearch_url=other.url),
        ):
            await asyncio.gather(*(asyncio.wait_for(gate.reached.wait(), 60) for gate in gates))
            for contact_id in contacts[:50]:  # whoever has them in hand has read them as they were
                await ground.change("update", contact_id, set={"last_name": "Changed"})
            await ground.tell()
            for gate in gates:
                gate.open()
            await ground.rest()
            await ground.agrees()
        assert one.bulks
        assert other.bulks
    assert await ground.letters() == []


async def test_the_next_index_gets_every_change_too(ground: Ground):
    live = await ground.live()
    following = await ground.following()
    contact_id = await ground.make(first_name="Maria")
    async with ground.indexing():
        await ground.tell()
        await ground.rest()
    for index in (live, following):
        assert await ground.document(contact_id, index)


async def test_a_rebuild_that_begins_while_a_batch_is_read(ground: Ground, monkeypatch: pytest.MonkeyPatch):
    """It may have read the contact before it changed: so the batch must go to its index, for nobody else will bring it."""
    await ground.live()
    begun: list[str] = []
    load = documents.load

    async def load_and_begin(connection, keys):
        loaded = await load(connection, keys)
        if not begun:
            begun.append(await ground.following())
        return loaded

    monkeypatch.setattr(documents, "load", load_and_begin)
    contact_id = await ground.make(first_name="Maria")
    async with ground.indexing():
        await ground.tell()
        await ground.rest()
    assert await ground.document(contact_id, begun[0])


async def test_a_contact_deleted_before_a_rebuild_began_stays_so(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
):
    """The batch in hand has read it as it was; the rebuild leaves it out, so nothing in its index would refuse the batch."""
    await ground.live()
    contact_id = await ground.make(first_name="Maria")
    begun: list[str] = []
    load = documents.load

    async def load_and_begin(connection, keys):
        loaded = await load(connection, keys)
        if not begun:
            await ground.change("delete", contact_id)
            begun.append(await ground.following())
        return loaded

    monkeypatch.setattr(documents, "load", load_and_begin)
    async with ground.indexing():
        await ground.tell(ground.untold())
        await ground.rest()
    document = await ground.document(contact_id, begun[0])
    assert document is None or document["deleted"]


async def test_a_rebuild_that_ends_while_a_batch_is_written(ground: Ground, fronted: Front):
    """The index that the batch was meant for is gone; the one that serves now gets it."""
    live = await ground.live()
    gate = Gate()
    fronted.rules.append(gate)
    contact_id = await ground.make(first_name="Maria")
    async with ground.indexing():
        await ground.tell()
        await asyncio.wait_for(gate.reached.wait(), 60)
        await ground.live()
        await ground.search.indices.delete(index=live)
        gate.open()
        await ground.rest()
        assert await ground.document(contact_id)
        assert await ground.jobs() == []


async def test_large_contacts_are_held_a_few_at_a_time(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, in_one_batch: None
):
    await ground.live()
    monkeypatch.setattr(writer, "PIECE", 4)
    monkeypatch.setattr(writer, "MOST_TOKENS", 10)
    read: list[int] = []
    held: list[int] = []
    load, write = documents.load, bulk.write

    async def load_counted(connection, keys):
        read.append(len(keys))
        return await load(connection, keys)

    async def write_counted(client, targets, found, **options):
        held.append(len(found))
        return await write(client, targets, found, **options)

    monkeypatch.setattr(documents, "load", load_counted)
    monkeypatch.setattr(bulk, "write", write_counted)
    for n in range(9):
        await ground.make(first_name=f"Maria {n}", attributes={"a": 1, "b": 2, "c": 3})
    await ground.make_many(10)  # of no weight
    await ground.tell()
    async with ground.indexing(lease_seconds=300):
        await ground.rest()
        monkeypatch.undo()
        await ground.agrees()
    assert read == [4, 4, 4, 4, 3]
    assert held == [4, 4, 11]


# -- Elasticsearch does not take it


@pytest.mark.parametrize(
    "rule",
    [front.status(429), front.status(503), front.half(429), front.half(503), front.cut, front.cut_answer],
    ids=["429", "503", "half 429", "half 503", "cut", "answer cut"],
)
async def test_what_is_refused_for_now_is_written_later(ground: Ground, fronted: Front, rule: front.Rule):
    await ground.live()
    await ground.make_many(40)
    fronted.rules += [rule] * 3
    async with ground.indexing():
        await ground.tell()
        await ground.rest()
        await ground.agrees()
    assert fronted.bulks >= 4
    assert await ground.letters() == []


async def test_the_position_is_kept_for_as_long_as_it_takes(ground: Ground, fronted: Front):
    await ground.live()
    lease = 3.0  # seconds, of which a machine that is busy elsewhere may let two pass
    async with ground.indexing(lease_seconds=lease, stall_seconds=2 * lease) as indexer:
        await eventually(lambda: not indexer.problems(), what="it works")
        fronted.always = front.status(429)
        await ground.make_many(10)
        await ground.tell()
        degraded = await eventually(indexer.problems, what="it tells")
        assert degraded[0] == (
            "what changes waits to be indexed: Elasticsearch answers 429 es_rejected_execution_exception"
        )
        assert isinstance(degraded[0], Degraded)
        # Longer than events are waited for that nobody holds.
        await eventually(lambda: not isinstance(indexer.problems()[0], Degraded), what="it is unready")
        info = await api(ground.bus, "CONSUMER.INFO.EVENTS.indexer")
        assert (info["num_ack_pending"], info["num_redelivered"]) == (10, 0)
        fronted.always = None
        await ground.rest()
        await eventually(lambda: not indexer.problems(), what="it works again")
        await ground.agrees()
    assert await ground.letters() == []


async def test_the_next_batch_comes_while_one_is_written(ground: Ground, fronted: Front, in_one_batch: None):
    await ground.live()
    gate = Gate()
    fronted.rules.append(gate)
    await ground.make_many(600)
    await ground.tell()
    async with ground.indexing(lease_seconds=300):
        await asyncio.wait_for(gate.reached.wait(), 60)

        async def held() -> bool:
            return (await api(ground.bus, "CONSUMER.INFO.EVENTS.indexer"))["num_ack_pending"] == 600

        await eventually(held, what="all of it is held")
        gate.open()
        await ground.rest()
    assert fronted.bulks == 2


async def test_a_refused_document_is_dead_lettered_alone(ground: Ground, in_one_batch: None):
    await ground.live(strict=True)
    await ground.following(strict=True)
    good = [await ground.make(first_name=f"Maria {n}", source="7") for n in range(3)]
    bad = await ground.make(first_name="Mario", source="web")
    await ground.change("update", bad, set={"last_name": "Web"})
    async with ground.indexing(lease_seconds=300):
        await ground.tell()
        await ground.rest()
        assert all([await ground.document(contact_id) for contact_id in good])
        assert await ground.document(bad) is None
        (letter,) = await ground.letters()
        assert (letter["stream"], letter["tenant_id"], letter["partition"]) == ("EVENTS", ground.tenant, -1)
        assert (letter["reason"], letter["subject"]) == (
            "not_indexable",
            f"contact.updated.{ground.tenant}.{bad}",
        )
        assert letter["detail"].startswith("version 2: document_parsing_exception")
        assert "web" not in letter["detail"]
        info = await api(ground.bus, "STREAM.MSG.GET.EVENTS", {"seq": letter["position"]})
        assert info["message"]["subject"] == letter["subject"]
        await ground.change("update", bad, set={"source": "8"})
        await ground.tell()
        await ground.rest()
        assert await ground.document(bad)
    assert len(await ground.letters()) == 1
    last = (await api(ground.bus, "STREAM.INFO.EVENTS"))["state"]["last_seq"]
    servers = {"ROLLCALL_NATS_URL": ground.bus_url, "ROLLCALL_POSTGRES_DSN": ground.dsn}
    ran = await rollcall("dlq", "replay", str(letter["id"]), environment={**os.environ, **servers})
    assert ran.code == 1
    assert f"rollcall search audit --repair --tenant {ground.tenant}" in ran.stderr
    assert (await api(ground.bus, "STREAM.INFO.EVENTS"))["state"]["last_seq"] == last


# -- stopping, starting


async def test_a_connection_that_is_closed_for_good_is_replaced(ground: Ground):
    await ground.live()
    contact_id = await ground.make(first_name="Maria")
    async with ground.indexing() as indexer:
        lost = await eventually(lambda: indexer._changes and indexer._bus, what="it reads")
        assert lost is not None
        lost._transport.write(
            b"NONSENSE\r\n"
        )  # the broker answers with an error, at which the library gives up
        await eventually(lambda: indexer._changes and indexer._bus is not lost, what="it reads again")
        await ground.tell()
        await ground.rest()
        assert await ground.document(contact_id)
        assert [task.get_name() for task in asyncio.all_tasks()].count("holding") == 1


async def test_stop_finishes_the_batch_in_hand_and_gives_back_the_rest(
    ground: Ground, fronted: Front, in_one_batch: None
):
    await ground.live()
    gate = Gate()
    fronted.rules.append(gate)
    contacts = await ground.make_many(900)
    await ground.tell()
    indexer = Indexer(ground.indexer_settings(lease_seconds=300))
    working = asyncio.create_task(indexer.run())
    await asyncio.wait_for(gate.reached.wait(), 60)
    await indexer.stop()
    gate.open()
    await asyncio.wait_for(working, 30)

    async def acknowledged() -> bool:
        info = await api(ground.bus, "CONSUMER.INFO.EVENTS.indexer")
        return bool(info["ack_floor"]["stream_seq"] >= 500)

    await eventually(acknowledged, what="the batch in hand is behind us")
    assert all([await ground.document(contact_id) for contact_id in contacts[:500]])
    async with ground.indexing(
        lease_seconds=300
    ):  # it would have to wait for minutes for what was not given back
        await ground.rest()
        await ground.agrees()


@pytest.mark.parametrize("version", ["7.17.29", "10.0.0", "no Elasticsearch"])
async def test_a_server_that_it_cannot_work_with(ground: Ground, fronted: Front, version: str):
    await ground.live()
    fronted.version = version
    contact_id = await ground.make(first_name="Maria")
    await ground.tell()
    async with ground.indexing() as indexer:
        (problem,) = await eventually(
            lambda: [p for p in indexer.problems() if "8 or 9 is needed" in p], what="it tells"
        )
        assert isinstance(problem, Degraded)
        fronted.version = None
        await ground.rest()
        assert await ground.document(contact_id)
        await eventually(lambda: not indexer.problems(), what="it works")


async def test_no_url_is_said_so(ground: Ground):
    with pytest.raises(SettingsError, match="ELASTICSEARCH_URL"):
        Indexer(ground.indexer_settings(elasticsearch_url=None))
