"""What every reader promises: the same tests for the log in memory and for a real broker."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict

import pytest

from contracts.subjects import STRAY
from tests.eventually import eventually
from tests.faults.proxy import Proxy
from tests.helpers import frames
from tests.helpers.logs import EVERY, MEGABYTE, MemoryStage, NatsStage, fill, opened, read
from workers.engine import jetstream, nats_reader
from workers.engine.record import StreamChanged
from workers.jetstream import api


@pytest.fixture
async def remote(bus, nats):
    """A broker's log, for what memory cannot suffer."""
    stage = NatsStage(nats, bus.url)
    await stage.make_anew()
    yield stage
    await stage.log.close()


@pytest.fixture(params=["memory", "nats"])
def stage(request, remote):
    return MemoryStage() if request.param == "memory" else remote


def by_partition(records):
    found = defaultdict(list)
    for record in records:
        found[record.partition].append(record.sequence)
    return found


async def test_everything_once_and_in_order_of_the_partition(stage):
    reader = await opened(stage)
    sent = await fill(stage, range(300))
    records = await read(reader, 300, max_records=70)
    assert sorted(record.sequence for record in records) == sent
    assert len({record.partition for record in records}) > 10
    for sequences in by_partition(records).values():
        assert sequences == sorted(sequences)
    assert [r.data for r in sorted(records, key=lambda r: r.sequence)] == [
        str(n).encode() for n in range(300)
    ]


async def test_a_record_is_what_was_published(stage):
    before = time.time()
    sequence = await stage.publish("webhook.message.acme.k", b"{}", {"ce-id": "1", "X": "y"})
    (record,) = await read(await opened(stage), 1)
    assert (record.stream, record.sequence, record.data) == ("WEBHOOK", sequence, b"{}")
    assert record.subject == "webhook.message.acme.k"
    assert record.headers == {"ce-id": "1", "X": "y"}
    assert before - 1 < record.time.timestamp() < time.time() + 1


async def test_same_key_same_partition(stage):
    await fill(stage, range(20), key="same")
    records = await read(await opened(stage), 20)
    assert len({record.partition for record in records}) == 1
    assert [int(record.data) for record in records] == list(range(20))


async def test_a_message_outside_every_partition_is_a_stray(stage):
    await stage.publish("webhook.message.acme", b"short")
    (record,) = await read(await opened(stage), 1)
    assert (record.partition, record.subject) == (STRAY, "webhook.message.acme")


async def test_reading_begins_after_the_position(stage):
    sent = await fill(stage, range(10), key="same")
    first = await read(await opened(stage), 10)
    partition = first[0].partition
    reader = await opened(stage, {partition: sent[6]})
    assert [record.sequence for record in await read(reader, 3)] == sent[7:]


async def test_other_partitions_are_not_read(stage):
    await fill(stage, range(60))
    records = by_partition(await read(await opened(stage), 60))
    chosen = sorted(records)[:3]
    reader = await opened(stage, dict.fromkeys(chosen, 0))
    again = by_partition(await read(reader, sum(len(records[p]) for p in chosen)))
    assert again == {p: records[p] for p in chosen}


async def test_read_waits_and_does_not_poll(stage):
    reader = await opened(stage)
    reading = asyncio.create_task(reader.read(10, MEGABYTE))
    done, _ = await asyncio.wait([reading], timeout=0.2)
    assert not done
    await fill(stage, [1])
    assert len(await asyncio.wait_for(reading, 30)) == 1


async def test_an_idle_stream_is_not_waited_for_to_fill_a_batch(stage):
    reader = await opened(stage)
    await fill(stage, range(3))
    await read(reader, 3)
    await fill(stage, [3])
    assert len(await asyncio.wait_for(reader.read(500, MEGABYTE), 30)) == 1


async def test_a_large_partition_does_not_push_out_a_small_one(stage):
    await fill(stage, range(400), key="many")
    few = await fill(stage, range(5), key="few", tenant="globex")
    everything = by_partition(await read(await opened(stage), 405))
    small = next(p for p, sequences in everything.items() if few[0] in sequences)
    large = next(p for p in everything if p != small)
    records = await read(await opened(stage, {small: 0, large: 0}), 405, max_records=50)
    # Its consumer may be made after the other one; from its first message on it has its share.
    places = [n for n, record in enumerate(records) if record.partition == small]
    assert [records[n].sequence for n in places] == few
    assert places[-1] - places[0] < 150


async def test_batches_are_bounded_in_records_and_bytes(stage):
    await fill(stage, range(30), key="same")
    reader = await opened(stage)
    assert len(await reader.read(7, MEGABYTE)) <= 7
    await stage.publish("webhook.message.acme.same", b"x" * 5000)
    await stage.publish("webhook.message.acme.same", b"x" * 5000)
    sizes = []
    while sum(sizes) < 10_000:
        sizes.append(sum(len(record.data) for record in await reader.read(500, 4000)))
    assert sizes.count(5000) == 2, "a record larger than the bound comes alone"
    assert all(size <= 4000 or size == 5000 for size in sizes)


async def test_assigning_the_same_again_hands_nothing_out_twice(stage):
    sent = await fill(stage, range(40))
    reader = await opened(stage)
    positions = dict.fromkeys(EVERY, 0)
    seen = []
    while len(seen) < 40:
        records = await reader.read(6, MEGABYTE)
        seen += [record.sequence for record in records]
        positions.update({record.partition: record.sequence for record in records})
        await reader.assign(positions)
    assert sorted(seen) == sent


async def test_partitions_come_and_go(stage):
    await fill(stage, range(64))
    everything = by_partition(await read(await opened(stage), 64))
    one, other = sorted(everything)[:2]
    reader = await opened(stage, {one: 0})
    assert by_partition(await read(reader, len(everything[one]))) == {one: everything[one]}
    await reader.assign({other: 0})
    assert by_partition(await read(reader, len(everything[other]))) == {other: everything[other]}


async def test_what_is_idle_and_how_far(stage):
    sent = await fill(stage, range(10), key="same")
    reader = await opened(stage)
    busy = (await read(reader, 10))[0].partition

    async def surveyed():
        assert (await reader.lag()).messages == 0
        return reader.idle_positions()

    idle = await eventually(surveyed)
    assert {p: i.until for p, i in idle.items()} == dict.fromkeys(set(EVERY) - {busy}, sent[-1])
    assert all(i.read <= i.until for i in idle.values())
    await stage.publish("webhook.message.acme", b"stray")
    await read(reader, 1)
    assert STRAY not in reader.idle_positions()


async def test_lag_counts_what_waits(stage):
    sent = await fill(stage, range(50), key="same")
    everything = await read(await opened(stage), 50)
    reader = await opened(stage)
    taken = 0
    while taken < 10:  # a read does not wait for as many as it may take
        taken += len(await reader.read(10 - taken, MEGABYTE))
    lag = await reader.lag()
    assert (lag.messages, lag.oldest) == (40, everything[sent.index(11)].time)
    assert lag.unread is None
    assert 0 < lag.seconds < 60
    await read(reader, 40)
    assert await reader.lag() == (0, None, None)


async def test_what_a_read_took_that_was_given_up_still_waits(remote, monkeypatch):
    sent = await fill(remote, range(20), key="same")
    reader = await opened(remote)
    monkeypatch.setattr(nats_reader, "FILL_SECONDS", 60)
    monkeypatch.setattr(reader, "_more_comes", lambda: True)
    reading = asyncio.create_task(reader.read(500, MEGABYTE))
    await eventually(lambda: reader._taken)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert (await reader.lag()).messages == len(sent)
    monkeypatch.undo()
    await reader.assign(dict.fromkeys(EVERY, 0))
    assert len(await read(reader, 20)) == 20


async def test_what_waits_is_known_without_consumers(remote, monkeypatch):
    """The broker makes none: how much waits cannot be known, but since when, and why it is not read."""
    await fill(remote, range(3), key="same")
    (first, *_) = await read(await opened(remote), 3)

    async def refuse(*_):
        raise OSError("JetStream: no more (1)")

    monkeypatch.setattr(jetstream, "create_consumer", refuse)
    reader = await opened(remote)

    async def unread():
        lag = await reader.lag()
        return lag if lag.unread == "JetStream: no more (1)" else None

    lag = await eventually(unread)
    assert (lag.messages, lag.oldest) == (1, first.time)


async def test_a_stream_made_anew_is_not_read(stage):
    await fill(stage, range(5), key="same")
    reader = await opened(stage)
    await read(reader, 5)
    await stage.make_anew()
    await fill(stage, range(20), key="same")
    with pytest.raises(StreamChanged, match=r"made anew|does not exist"):
        await asyncio.wait_for(read(reader, 1), 60)


async def test_a_stream_that_ends_before_the_cursor_is_not_read(stage):
    await fill(stage, range(5), key="same")
    reader = await opened(stage, {3: 1000})
    with pytest.raises(StreamChanged, match="before the cursor at 1000"):
        await asyncio.wait_for(reader.read(1, MEGABYTE), 60)


# -- what only a broker does


async def test_a_connection_cut_in_the_middle_of_a_pull_skips_nothing(bus, remote, nats):
    body = b"x" * 700
    for n in range(3000):
        await nats.publish(f"webhook.message.acme.k{n % 50}", body + str(n).encode())
    await nats.flush()
    with Proxy(bus.url) as proxy:
        stage = NatsStage(nats, proxy.url)
        seen = defaultdict(list)
        cuts = total = 0
        proxy.arm_bytes(150_000)
        try:
            reader = await opened(stage)
            while total < 3000:
                for record in await asyncio.wait_for(reader.read(100, MEGABYTE), 60):
                    seen[record.partition].append(record.sequence)
                    total += 1
                if proxy.cut.is_set() and cuts < 3:
                    cuts += 1
                    proxy.arm_bytes(150_000)
        finally:
            await stage.log.close()
        assert cuts == 3
    assert sorted(s for sequences in seen.values() for s in sequences) == list(range(1, 3001))
    assert all(sequences == sorted(sequences) for sequences in seen.values())


async def test_a_gap_starts_the_partition_again(remote, monkeypatch):
    """A frame that never arrives, on a connection that lives on."""
    sent = await fill(remote, range(50), key="same")
    reader = await opened(remote, {})
    receive, dropped = reader._receive, []

    def lossy(subject, reply, data, headers):
        if data == b"20" and not dropped:
            dropped.append(subject)
            return
        receive(subject, reply, data, headers)

    reader._client.route(reader._subscription, lossy)
    await reader.assign(dict.fromkeys(EVERY, 0))
    assert [record.sequence for record in await asyncio.wait_for(read(reader, 50), 60)] == sent
    assert dropped


async def test_a_consumer_that_was_deleted_is_made_again(remote, nats):
    reader = await opened(remote)
    await fill(remote, range(3), key="same")
    await read(reader, 3)
    names = (await nats.request("$JS.API.CONSUMER.NAMES.WEBHOOK", timeout=30)).data
    assert names.count(reader._name.encode()) == len(EVERY)
    for feed in list(reader._feeds.values()):
        await api(nats, f"CONSUMER.DELETE.WEBHOOK.{feed.consumer.decode()}")
    await fill(remote, range(3, 6), key="same")
    records = await asyncio.wait_for(read(reader, 3), 60)
    assert [int(record.data) for record in records] == [3, 4, 5]


async def test_a_broker_killed_and_started_again(remote, bus, nats):
    reader = await opened(remote)
    await fill(remote, range(100))
    first = await reader.read(30, MEGABYTE)
    bus.kill()
    bus.restart()
    await eventually(lambda: nats.stats["reconnects"], what="the publisher is connected again")
    await fill(remote, range(100, 150))
    seen = [record.sequence for record in first]
    while len(seen) < 150:
        seen += [record.sequence for record in await asyncio.wait_for(reader.read(500, MEGABYTE), 60)]
    assert sorted(seen)[:100] == list(range(1, 101))
    assert len(seen) == len(set(seen))


async def test_what_a_closed_client_says_late_harms_no_other(remote):
    """The library tells that it has closed only after it has taken its time for that."""
    await opened(remote)
    old = remote.log._client
    await old._close(old.CLOSED, do_cbs=False)
    reader = await opened(remote)
    assert remote.log._client is not old
    await old._disconnected_cb()
    await old._closed_cb()
    sent = await fill(remote, range(10))
    assert sorted(record.sequence for record in await read(reader, 10)) == sent
    reader.disconnected()  # and it can be mended
    sent += await fill(remote, range(10))
    assert sorted(record.sequence for record in await read(reader, 10)) == sent[10:]


async def test_what_breaks_the_client_library_is_one_record(remote, bus):
    """Subjects and headers that are not UTF-8 or hold white space, and a header block that looks like a status of the broker."""
    blocks = (b"NATS/1.0\r\nA: \xff\r\n\r\n", b"NATS/1.0 503 \xff\r\n\r\n")
    await frames.send(
        bus.port,
        b"PUB webhook.message.acme.\xff\xfe 3\r\nbad\r\n",
        b"PUB webhook.message.acme.k\x0bk 3\r\nbad\r\n",
        *(
            b"HPUB webhook.message.acme.k %d %d\r\n%b{}\r\n" % (len(block), len(block) + 2, block)
            for block in blocks
        ),
    )
    await fill(remote, [1])
    records = await asyncio.wait_for(read(await opened(remote), 5), 60)
    assert sorted(record.sequence for record in records) == [1, 2, 3, 4, 5]
    assert any("\ufffd" in record.subject for record in records)
    assert any("k\x0bk" in record.subject for record in records)


async def test_bodies_larger_than_a_window_among_small_ones(remote):
    large = b"x" * 900_000
    for n in range(12):
        await remote.publish(f"webhook.message.acme.k{n % 4}", large)
        await fill(remote, [n], key=f"k{n % 4}")
    records = await asyncio.wait_for(read(await opened(remote), 24, max_bytes=2 * MEGABYTE), 60)
    assert sum(len(record.data) == len(large) for record in records) == 12
    for sequences in by_partition(records).values():
        assert sequences == sorted(sequences)


async def test_waiting_costs_no_cpu(remote):
    reader = await opened(remote)
    await fill(remote, [1])
    await read(reader, 1)
    started = time.process_time()
    done, _ = await asyncio.wait([asyncio.create_task(reader.read(1, MEGABYTE))], timeout=1)
    assert not done
    assert time.process_time() - started < 0.3
