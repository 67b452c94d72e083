"""Clients that come back: what they missed, in order, once, and then what happens; or a word that they must refetch."""

from __future__ import annotations

import asyncio
import itertools
import signal
import uuid
from datetime import UTC, datetime, timedelta

from contracts.subjects import EVENTS
from storage import tickets
from storage.postgres import WRITER, connect
from tests.helpers.realm import Realm
from workers.jetstream import api
from workers.realtime import stored
from workers.realtime.positions import Cursors, Position


async def cursors(realm: Realm) -> Cursors:
    connection = await connect(realm.stage.dsn, WRITER)
    try:
        return Cursors(await tickets.key(connection))
    finally:
        await connection.close()


async def test_what_was_missed_comes_first(realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    token = realm.agent(tenant)
    async with realm.watch(token) as watcher:
        await watcher.subscribe(contacts=[contact])
        await realm.record(tenant, contact, "seen")
        cursor = (await watcher.until_title("seen"))["cursor"]
    for n in range(5):
        await realm.record(tenant, contact, f"missed {n}")
    async with realm.watch(token) as watcher:
        await watcher.subscribe(contacts=[contact], cursor=cursor)
        await realm.record(tenant, contact, "live")
        await watcher.until_title("live")
        assert watcher.titles() == [*(f"missed {n}" for n in range(5)), "live"]
        assert not watcher.of("resync")


async def test_every_frames_cursor_is_a_place_to_go_on_from(realm: Realm):
    tenant = realm.tenant()
    one, two = await realm.contact(tenant), await realm.contact(tenant)
    token = realm.agent(tenant)
    async with realm.watch(token) as watcher:
        begin = await watcher.subscribe()
        for n in range(10):
            await realm.record(tenant, (one, two)[n % 2], f"n{n}")
        await watcher.until_title("n9")
        places = [begin["cursor"], *(f["cursor"] for f in watcher.of("event"))]
    async with realm.watch(token) as watcher:
        for place, cursor in enumerate(places):
            await watcher.subscribe(f"all{place}", cursor=cursor)
            await watcher.subscribe(f"one{place}", [one], cursor=cursor)
            await watcher.subscribe(f"both{place}", [one, two], cursor=cursor)
        await realm.record(tenant, one, "last")
        for place in range(len(places)):
            for sub, of in ((f"all{place}", (0, 1)), (f"one{place}", (0,)), (f"both{place}", (0, 1))):
                await watcher.until_title("last", sub)
                wanted = [f"n{n}" for n in range(place, 10) if n % 2 in of]
                assert watcher.titles(sub) == [*wanted, "last"]


async def test_the_seam_while_much_happens(realm: Realm):
    """Coming and going in the middle of a stream of events: each gets all of them, once, in order."""
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    token = realm.agent(tenant)
    count = 400

    async def happen() -> None:
        for n in range(0, count, 20):
            await asyncio.gather(*(realm.record(tenant, contact, f"n{n + k}") for k in range(20)))

    async def come_and_go(contacts: list[uuid.UUID] | str) -> list[int]:
        got: list[int] = []
        cursor = None
        while len(got) < count:
            async with realm.watch(token) as watcher:
                await watcher.subscribe(contacts=contacts, cursor=cursor)
                wanted = min(37, count - len(got))
                await watcher.until(lambda _: len(watcher.of("event")) >= wanted)  # noqa: B023
                frames = watcher.of("event")[:wanted]
                got += [f["event"]["sequence"] for f in frames]
                cursor = frames[-1]["cursor"]
                assert not watcher.of("resync")
        return got

    async with realm.watch(token) as first:
        await first.subscribe()
        ran = await asyncio.gather(come_and_go([contact]), come_and_go("*"), happen())
        await first.until(lambda _: len(first.of("event")) == count)
    everything = [f["event"]["sequence"] for f in first.of("event")]
    assert everything == list(range(2, count + 2))
    assert ran[0] == ran[1] == everything


async def test_a_long_absence_is_read_in_pages(realm: Realm, monkeypatch):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    async with realm.watch(realm.agent(tenant)) as watcher:
        cursor = (await watcher.subscribe())["cursor"]
    count = 3 * stored.PAGE
    for n in range(0, count, 64):
        await asyncio.gather(*(realm.record(tenant, contact, f"n{n + k}") for k in range(64)))
    async with realm.watch(realm.agent(tenant)) as watcher:
        await watcher.subscribe(cursor=cursor)
        await watcher.until(lambda _: len(watcher.of("event")) == count)
        assert [f["event"]["sequence"] for f in watcher.of("event")] == list(range(2, count + 2))


async def test_cursors_that_cannot_be_gone_on_from(realm: Realm):
    tenant, other = realm.tenant(), realm.tenant()
    contact = await realm.contact(tenant)
    made = await cursors(realm)
    state = await stored.state(realm.stage.client)
    earlier = state.created - timedelta(days=1)
    async with realm.watch(realm.agent(tenant)) as watcher:
        good = (await watcher.subscribe("good"))["cursor"]
        flipped = good[:-1] + ("A" if good[-1] != "A" else "B")
        for n, bad in enumerate(["x", "é", "A" * 500, flipped, good[:-4], good + "AAAA"]):
            await watcher.send("subscribe", sub=f"bad{n}", contacts="*", cursor=bad)
            await watcher.next("error", code="bad_cursor", ref=f"bad{n}")
        refused = {
            "foreign": made.seal(other, Position(state.created, 1)),
            "stream_reset": made.seal(tenant, Position(earlier, 1)),
        }
        for reason, cursor in refused.items():
            begun = await watcher.subscribe(reason, cursor=cursor)
            await watcher.next("resync", sub=reason, reason=reason)
            await watcher.subscribe(f"{reason} again", cursor=begun["cursor"])
        ahead = made.seal(tenant, Position(state.created, 10**9))
        await watcher.subscribe("ahead", cursor=ahead)
        await watcher.next("resync", sub="ahead", reason="stream_reset")
        await realm.record(tenant, contact, "live")
        for sub in ("good", "foreign", "stream_reset", "ahead"):
            await watcher.until_title("live", sub)
            assert watcher.titles(sub) == ["live"] if sub != "good" else True
        for sub in ("foreign again", "stream_reset again"):
            await watcher.until_title("live", sub)
            assert not watcher.of("resync", sub), "the cursor that came with it is good"


async def test_a_cursor_that_is_too_old(realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    async with realm.watch(realm.agent(tenant)) as watcher:
        old = (await watcher.subscribe())["cursor"]
        await realm.record(tenant, contact, "gone")
        kept = (await watcher.until_title("gone"))["cursor"]
        state = await stored.state(realm.stage.client)
        await api(realm.stage.client, f"STREAM.PURGE.{EVENTS.name}", {"seq": state.last + 1})
        begun = await watcher.subscribe("old", cursor=old)
        await watcher.next("resync", sub="old", reason="too_old")
        await watcher.subscribe("anew", cursor=begun["cursor"])
        await watcher.subscribe("kept", cursor=kept)
        await realm.record(tenant, contact, "later")
        await watcher.until_title("later", "kept")
        await watcher.until_title("later", "old")
        assert watcher.titles("old") == watcher.titles("kept") == ["later"]
        await watcher.until_title("later", "anew")
        assert not watcher.of("resync", "kept")
        assert not watcher.of("resync", "anew"), (
            "a client that comes back in a quiet hour would refetch for ever"
        )


async def test_a_cursor_that_is_none_ends_the_subscription_of_that_name(realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    async with realm.watch(realm.agent(tenant)) as watcher:
        await watcher.subscribe("one")
        await watcher.send("subscribe", sub="one", contacts="*", cursor="x")
        await watcher.next("error", code="bad_cursor", ref="one")
        await watcher.send("unsubscribe", sub="one")
        await watcher.next("error", code="unknown_subscription", ref="one")
        await watcher.subscribe("two")
        await realm.record(tenant, contact, "later")
        await watcher.until_title("later", "two")
        assert watcher.titles("one") == []


async def test_what_left_the_stream_while_the_worker_was_stopped(realm: Realm):
    """Sockets that stayed are told, though nobody came with a cursor."""
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    async with realm.watch(realm.agent(tenant)) as watcher:
        await watcher.subscribe()
        await realm.record(tenant, contact, "seen")
        await watcher.until_title("seen")
        process = realm.worker
        process.signal(signal.SIGSTOP)
        try:
            for n in range(5):  # more than what is on its way to the worker at once
                await realm.record(tenant, contact, f"gone {n}", payload={"x": "y" * 600_000})
            state = await stored.state(realm.stage.client)
            await api(realm.stage.client, f"STREAM.PURGE.{EVENTS.name}", {"seq": state.last + 1})
        finally:
            process.signal(signal.SIGCONT)
        await watcher.next("resync", reason="too_old")
        await realm.record(tenant, contact, "later")
        await watcher.until_title("later")
        assert "gone 4" not in watcher.titles()
        assert len(watcher.of("resync")) == 1


# -- a contact that was away


async def test_what_waited_for_a_contact_comes_when_it_connects(realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    await realm.notify(tenant, contact, "one")
    await realm.notify(tenant, contact, "expired", expires_at=past)
    await realm.record(tenant, contact, "internal", realtime=True)
    await realm.record(tenant, contact, "not realtime", visible_to_client=True)
    await realm.notify(tenant, contact, "two")
    token = realm.of_contact(tenant, contact)
    for _ in range(2):  # nothing is acknowledged, so it waits on
        async with realm.watch(token) as watcher:
            await watcher.subscribe()
            await realm.notify(tenant, contact, "live", expires_at=past)
            await watcher.until_title("two")
            assert watcher.titles() == ["one", "two"]


async def test_with_a_cursor_nothing_is_opened(realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    await realm.notify(tenant, contact, "before")
    token = realm.of_contact(tenant, contact)
    async with realm.watch(token) as watcher:
        await watcher.subscribe()
        await watcher.until_title("before")
        await realm.notify(tenant, contact, "live")
        cursor = (await watcher.until_title("live"))["cursor"]
    async with realm.watch(token) as watcher:
        await watcher.subscribe(cursor=cursor)
        await realm.notify(tenant, contact, "later")
        await watcher.until_title("later")
        assert watcher.titles() == ["later"]


async def test_a_client_that_was_cut_before_the_first_of_what_waited(realm: Realm):
    """All that it has is the cursor of ``subscribed``, behind which the opening lies."""
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    await realm.notify(tenant, contact, "waited")
    token = realm.of_contact(tenant, contact)
    async with realm.watch(token) as watcher:
        cursor = (await watcher.subscribe())["cursor"]
    await realm.notify(tenant, contact, "meanwhile")
    for _ in range(2):
        async with realm.watch(token) as watcher:
            assert (await watcher.subscribe(cursor=cursor))["cursor"] == cursor
            await watcher.until_title("meanwhile")
            assert watcher.titles() == ["waited", "meanwhile"]


async def test_an_opening_that_was_cut_goes_on_where_it_was(realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    count = 230  # three pages
    for n in range(0, count, 46):
        await asyncio.gather(*(realm.notify(tenant, contact, f"n{n + k}") for k in range(46)))
    token = realm.of_contact(tenant, contact)
    async with realm.watch(token) as watcher:
        await watcher.subscribe()
        await watcher.until(lambda _: len(watcher.of("event")) == count)
        whole = watcher.of("event")
    sequences = [f["event"]["sequence"] for f in whole]
    assert sequences == sorted(set(sequences))
    await realm.notify(tenant, contact, "meanwhile")
    for cut in (0, 50, 149, count - 1):
        async with realm.watch(token) as watcher:
            await watcher.subscribe(cursor=whole[cut]["cursor"])
            await watcher.until_title("meanwhile")
            await realm.notify(tenant, contact, f"live {cut}", expires_at=None)
            await watcher.until_title(f"live {cut}")
            got = [f["event"]["sequence"] for f in watcher.of("event")]
        assert got[: count - cut - 1] == sequences[cut + 1 :]
        assert got == sorted(set(got))
    async with realm.watch(realm.agent(tenant)) as watcher:
        await watcher.subscribe(cursor=whole[0]["cursor"])
        await watcher.next("resync", reason="foreign")


async def test_events_that_happen_during_an_opening(realm: Realm):
    """What is committed while the database is read comes once, from there or from the stream."""
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    token = realm.of_contact(tenant, contact)
    rounds, openings = 24, 0
    total: float = float("inf")  # of the events, once it is known which are the last

    async def happen() -> None:
        nonlocal total
        for n in itertools.count(1):
            last = n >= rounds and openings > 3
            total = 4 * n if last else total
            await asyncio.gather(*(realm.notify(tenant, contact, f"{n}.{k}") for k in range(4)))
            if last:
                break

    happening = asyncio.create_task(happen())
    while not happening.done():
        async with realm.watch(token) as watcher:
            await watcher.subscribe()
            wanted = len(watcher.of("event")) + 6
            await watcher.until(lambda _: len(watcher.of("event")) >= min(wanted, total))  # noqa: B023
            got = [f["event"]["sequence"] for f in watcher.of("event")]
        assert got == list(range(2, 2 + len(got)))
        openings += 1
    await happening
    assert openings > 3
