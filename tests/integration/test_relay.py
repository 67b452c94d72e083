"""The relay: nothing lost, nothing twice, in order; whoever publishes, and whatever the broker forgot."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import nats as nats_client
import pytest
from nats.aio.client import Client
from structlog.testing import capture_logs

from contracts import envelope
from contracts.subjects import EVENTS, SHARDS, WAKE_RELAY, relay_marker
from storage import outbox
from storage.outbox import OutboundEvent
from storage.postgres import WRITER, connect
from tests.eventually import eventually
from tests.helpers import frames
from tests.helpers.outgoing import (
    append,
    drain,
    event,
    events,
    made_anew,
    reply,
    running,
    settings,
    settle,
    stored,
    waiting,
    window_passed,
    window_zero,
)
from workers.jetstream import NoAnswer, Refused, api, request
from workers.relay.atomic_batch import Line, Mark, publish_batch, publish_singly
from workers.relay.housekeeping import Housekeeping
from workers.relay.publisher import Publisher, cut, pack
from workers.relay.service import Relay


@pytest.fixture
async def connection(database: str, nats):
    found = await connect(database, WRITER)
    for table in ("outbox", "relay_shards", "leases", "lease_instances", "dead_letters"):
        await found.execute(f"delete from {table}")
    await made_anew(nats)
    yield found
    await found.close()


@pytest.fixture
def in_batches(monkeypatch):
    """However few events, they leave as a batch."""
    monkeypatch.setattr("workers.relay.publisher.FEW", 0)


@pytest.fixture
async def publisher(nats):
    return Publisher(nats)


async def forget_marks(connection: asyncpg.Connection, ids: list[int]) -> None:
    """As if the relay had died between publishing these rows and marking them."""
    await connection.execute(
        "update outbox set published_at = null, stream_sequence = null where id = any($1::bigint[])", ids
    )


async def test_in_order_across_rows_with_ids_and_markers(connection, publisher, nats):
    sent = [[event(n % 2, 10 * row + n, f"c{n % 2}") for n in range(5)] for row in range(6)]
    for row in sent:
        await append(connection, row)
    await drain(publisher, connection)
    found = await stored(nats)
    for shard in (0, 1):
        mine = [each for each in found if each["subject"] == f"contact.updated.acme.c{shard}"]
        ours = [e for row in sent for e in row if e.shard == shard]
        assert [each["data"]["id"] for each in mine] == [e.id for e in ours]
        assert all(f"Nats-Msg-Id: {e.id}\r\n" in each["headers"] for each, e in zip(mine, ours, strict=True))
        assert "Content-Type: application/cloudevents+json\r\n" in mine[0]["headers"]
        (marker,) = [each for each in found if each["subject"] == relay_marker(shard)]
        assert len(marker["data"]["rows"]) == 6
        row = await connection.fetchrow(
            "select min(stream_sequence), max(stream_sequence) from outbox where shard = $1", shard
        )
        assert tuple(row) == (marker["sequence"],) * 2
    assert await waiting(connection) == 0


async def test_the_log_says_whose_events_leave(connection, publisher):
    def of(tenant: str, shard: int) -> OutboundEvent:
        made = event(shard, 1)
        return made._replace(subject=made.subject.replace("acme", tenant))

    told = []
    for sent in (
        [of("acme", 0), of("acme", 1)],
        [of("acme", 0), of("globex", 0)],
        [of("acme", 2)] * 9,
        [of(t, 2) for t in "aabbc" * 3],
    ):
        await append(connection, [made._replace(id=envelope.new_id()) for made in sent])
        with capture_logs() as lines:
            await drain(publisher, connection)
        of_one = [line for line in lines if line.get("operation") == "relay"]
        assert {line["phase"] for line in of_one} == {"START", "PUBLISH", "END"}
        told.append({(line.get("tenant"), line.get("tenants")) for line in of_one})
    assert told == [{("acme", None)}, {(None, 2)}, {("acme", None)}, {(None, 3)}]


async def test_what_is_packed_together(connection):
    for shard, count in ((1, 500), (2, 400), (1, 97), (2, 1), (3, 0), (1, 5)):
        await append(connection, [event(shard, n) for n in range(count)], [reply("_INBOX.a", 1)])
    rows = await outbox.unpublished(connection, range(SHARDS), 100, 10_000, 1 << 30)
    packed = pack(rows)
    assert packed.events == 998, "1000 with two markers"
    assert {shard: len(found) for shard, found in packed.rows.items()} == {1: 2, 2: 2}
    assert pack([rows[0]._replace(event_count=900)]).events == 900


async def test_one_batch_for_all_shards(connection, publisher, nats, in_batches):
    for n in range(SHARDS):
        await append(connection, [event(n, n)])
    await settle(publisher, connection)
    assert await publisher.publish(connection, range(SHARDS)) == SHARDS
    assert [each["subject"] for each in await stored(nats)][SHARDS:] == [
        relay_marker(n) for n in range(SHARDS)
    ]
    rows = await connection.fetch("select shard, stream_sequence from outbox order by shard")
    assert [tuple(row) for row in rows] == [(n, SHARDS + n + 1) for n in range(SHARDS)]
    assert await publisher.publish(connection, range(SHARDS)) == 0


async def test_a_row_that_commits_late_is_published(connection, publisher, nats, database):
    late = await connect(database, WRITER)
    open_transaction = late.transaction()
    await open_transaction.start()
    first, second = event(0, 1, "a"), event(0, 2, "b")
    await outbox.append(late, [first])
    await append(connection, [second])
    await drain(publisher, connection)
    assert await events(nats) == [second.id]
    await open_transaction.commit()
    await late.close()
    await drain(publisher, connection)
    assert await events(nats) == [second.id, first.id]


async def test_replies_leave_with_their_row_and_again_after_a_crash(connection, publisher, nats):
    inbox = nats.new_inbox()
    heard = await nats.subscribe(inbox)
    await append(connection, [event(3, 1)], [reply(inbox, 1)])
    await append(connection, [], [reply(inbox, 2)])
    await drain(publisher, connection)
    ids = {json.loads((await heard.next_msg(timeout=30)).data)["id"] for _ in range(2)}
    assert ids == {"1", "2"}
    assert await waiting(connection) == 0
    (row_id,) = [row["id"] for row in await connection.fetch("select id from outbox where event_count > 0")]
    await forget_marks(connection, [row_id])
    await connection.execute("update relay_shards set marker_sequence = 0 where shard = 3")
    await drain(Publisher(nats), connection)
    assert json.loads((await heard.next_msg(timeout=30)).data)["id"] == "1"
    assert len(await events(nats)) == 1
    assert await waiting(connection) == 0


async def test_killed_between_publish_and_mark(connection, publisher, nats):
    """The duplicate window does not help here: it is made short, and has passed."""
    await window_zero(nats)
    first, second, third = event(0, 1), event(0, 2), event(0, 3)
    await append(connection, [first])
    await drain(publisher, connection)
    known = await outbox.recorded(connection, 0)
    await append(connection, [second])
    await drain(publisher, connection)
    rows = await connection.fetch("select id from outbox order by id")
    await forget_marks(connection, [rows[1]["id"]])
    await connection.execute("update relay_shards set marker_sequence = $1 where shard = 0", known.sequence)
    await window_passed(nats)
    await append(connection, [third])
    await drain(Publisher(nats), connection)
    assert await events(nats) == [first.id, second.id, third.id]
    assert await waiting(connection) == 0


async def test_a_zombie_is_refused(connection, nats):
    """It read its rows, slept past its lease and the duplicate window, and wakes up with them in hand."""
    await window_zero(nats)
    zombie, heir = Publisher(nats), Publisher(nats)
    one, two = event(0, 1), event(0, 2)
    await append(connection, [one])
    await settle(zombie, connection)
    asleep, awake = asyncio.Event(), asyncio.Event()
    send = zombie._send

    async def slow(*given):
        asleep.set()
        await awake.wait()
        return await send(*given)

    zombie._send = slow
    other = await connect(await dsn_of(connection), WRITER)
    sleeping = asyncio.create_task(zombie.publish(other, [0]))
    await asleep.wait()
    await drain(heir, connection)
    await append(connection, [two])
    await drain(heir, connection)
    await window_passed(nats)
    awake.set()
    await sleeping
    await drain(zombie, other)
    await other.close()
    assert await events(nats) == [one.id, two.id]
    assert await waiting(connection) == 0


async def test_a_mark_on_the_word_of_a_stream_that_has_gone(connection, nats):
    """Acknowledged by the old stream, marked after an heir has settled with the new one: the row must leave again."""
    zombie, heir = Publisher(nats), Publisher(nats)
    one = event(0, 1)
    await append(connection, [one])
    await settle(zombie, connection)
    other = await connect(await dsn_of(connection), WRITER)
    mark = zombie._mark

    async def slow(*given):
        await made_anew(nats)
        await settle(heir, connection)
        await mark(*given)

    zombie._mark = slow
    await zombie.publish(other, [0])
    await other.close()
    assert await waiting(connection) == 1
    await drain(heir, connection)
    assert await events(nats) == [one.id]


async def test_a_duplicate_id_does_not_hold_the_others(connection, publisher, nats, in_batches):
    sent = [event(0, n) for n in range(5)]
    await api_publish(nats, sent[2])
    await append(connection, sent[:3])
    await append(connection, sent[3:])
    await drain(publisher, connection)
    assert sorted(await events(nats)) == sorted(e.id for e in sent)
    assert await waiting(connection) == 0
    found = await stored(nats)
    (marker,) = [each for each in found if each["subject"] == relay_marker(0)]
    assert marker["sequence"] == found[-1]["sequence"]


async def test_singly_published_events_are_fenced_too(nats, connection):
    await publish_batch(nats, [], [mark := Mark(relay_marker(0), b'{"rows":[]}', 0)], 2)
    line = Line(b"contact.updated.acme.c", b"an-id", b"{}")
    with pytest.raises(Refused, match="wrong last sequence"):
        await publish_singly(nats, [line], mark)


async def test_a_stream_made_anew_is_refilled(connection, publisher, nats):
    sent = [event(n, n) for n in range(SHARDS)]
    for each in sent:
        await append(connection, [each])
    await drain(publisher, connection)
    await made_anew(nats)
    last = event(0, 9)
    await append(connection, [last])
    await publisher.check()
    await drain(publisher, connection)
    assert sorted(await events(nats)) == sorted([*(e.id for e in sent), last.id])


async def test_a_stream_made_anew_is_noticed_by_the_refusal(connection, publisher, nats):
    first, second = event(0, 1), event(0, 2)
    await append(connection, [first])
    await drain(publisher, connection)
    await made_anew(nats)
    await append(connection, [second])
    await drain(publisher, connection)
    assert await events(nats) == [first.id, second.id]


async def test_a_broker_that_lost_its_end_is_refilled(connection, publisher, nats):
    """As after a power cut without sync_interval: the stream is the same, its last messages are not there."""
    sent = [event(0, n) for n in range(4)]
    for each in sent[:2]:
        await append(connection, [each])
    await drain(publisher, connection)
    lost = (await outbox.recorded(connection, 0)).sequence
    for each in sent[2:]:
        await append(connection, [each])
        await drain(publisher, connection)
    last = (await api(nats, f"STREAM.INFO.{EVENTS.name}"))["state"]["last_seq"]
    for sequence in range(lost + 1, last + 1):
        await api(nats, f"STREAM.MSG.DELETE.{EVENTS.name}", {"seq": sequence})
    await window_zero(nats)
    await drain(Publisher(nats), connection)
    assert await events(nats) == [e.id for e in sent]


async def test_a_marker_that_aged_out_is_no_loss(connection, publisher, nats):
    first, second = event(0, 1), event(0, 2)
    await append(connection, [first])
    await drain(publisher, connection)
    await api(nats, f"STREAM.PURGE.{EVENTS.name}")
    await append(connection, [second])
    await drain(publisher, connection)
    assert await events(nats) == [second.id]
    assert await waiting(connection) == 0


async def test_a_marker_of_another_database_marks_nothing(connection, publisher, nats):
    """Row ids come again after a restore: a marker's row is ours only if it was written at the same moment."""
    await append(connection, [event(0, 1)])
    await drain(publisher, connection)
    row_id = await connection.fetchval("select id from outbox")
    await connection.execute("delete from outbox")
    await connection.execute("delete from relay_shards")
    mine = event(0, 2)
    await append(connection, [mine])
    await connection.execute(
        "insert into outbox (id, shard, events, event_count, replies) overriding system value"
        " select $1, shard, events, event_count, replies from outbox",
        row_id,
    )
    await connection.execute("delete from outbox where id <> $1", row_id)
    await drain(Publisher(nats), connection)
    assert (await events(nats))[-1] == mine.id


async def test_a_full_stream_holds_and_goes_on(connection, publisher, nats):
    config = (await api(nats, f"STREAM.INFO.{EVENTS.name}"))["config"]
    await api(nats, f"STREAM.UPDATE.{EVENTS.name}", config | {"discard": "new", "max_bytes": 10_000})
    sent = [event(0, n, size=3000) for n in range(4)]
    for each in sent:
        await append(connection, [each])
    await settle(publisher, connection)
    with pytest.raises(Refused, match="maximum bytes"):
        await publisher.publish(connection, range(SHARDS))
    assert await waiting(connection) == 4
    await api(nats, f"STREAM.UPDATE.{EVENTS.name}", config)
    await drain(publisher, connection)
    assert await events(nats) == [e.id for e in sent]


async def test_no_answer_settles_by_the_marker(connection, publisher, nats, monkeypatch, in_batches):
    """The batch was stored, its acknowledgement was lost."""
    sent = [event(0, 1), event(0, 2)]
    await append(connection, sent)
    await settle(publisher, connection)

    async def deaf(*given):
        await publish_batch(*given)
        raise NoAnswer("lost")

    monkeypatch.setattr("workers.relay.publisher.publish_batch", deaf)
    with pytest.raises(NoAnswer):
        await publisher.publish(connection, range(SHARDS))
    monkeypatch.undo()
    assert await waiting(connection) == 1
    await drain(publisher, connection)
    assert await events(nats) == [e.id for e in sent]


async def test_an_event_larger_than_the_broker_takes_is_cut(connection, nats):
    before, large, after = event(0, 1), event(0, 2, size=20_000), event(0, 3)
    await append(connection, [before, large, after])

    class Small(Publisher):
        def _line(self, framed):
            self._client._max_payload, kept = 10_000, self._client._max_payload
            try:
                return super()._line(framed)
            finally:
                self._client._max_payload = kept

    await drain(Small(nats), connection)
    found = [each["data"] for each in await stored(nats) if each["subject"].startswith("contact.")]
    assert [each["id"] for each in found] == [before.id, large.id, after.id]
    assert found[1]["data"] == {"contact_id": "c", "version": 2, "truncated": True}
    assert json.loads(cut(b'{"id":"1","data":"text"}'))["data"] == {"truncated": True}


async def test_the_worker_wakes_shares_and_stops(connection, database, bus, nats, monkeypatch):
    given = settings(database, bus.url, lease_seconds=1)
    async with running(given) as first:
        await eventually(lambda: first._owned == frozenset(range(SHARDS)), what="one relay has every shard")
        one = event(2, 1)
        sleeps, sleep = asyncio.Event(), first._sleep

        async def until_woken(until, seconds):
            if until is first._woken:
                sleeps.set()
                await until.wait()
            else:
                await sleep(until, seconds)

        with monkeypatch.context() as patch:
            patch.setattr(first, "_sleep", until_woken)
            await sleeps.wait()
            await append(connection, [one])
            await frames.send(bus.port, frames.headless(WAKE_RELAY.encode()))  # breaks the client library
            await nats.publish(WAKE_RELAY, b"")
            await eventually(lambda: events(nats), what="woken, and no poll")
        await nats.publish(WAKE_RELAY, b"")  # out of the sleep that it may be in by now
        async with running(settings(database, bus.url, lease_seconds=1)) as second:
            await eventually(
                lambda: len(first._owned) == len(second._owned) == SHARDS // 2, what="fair shares"
            )
            sent = [event(n % SHARDS, n, f"c{n % SHARDS}") for n in range(40)]
            for each in sent:
                await append(connection, [each])
            await nats.publish(WAKE_RELAY, b"")
            await eventually(lambda: drained(connection), what="both relays publish")
        await eventually(lambda: first._owned == frozenset(range(SHARDS)), what="shards are handed back")
        assert first.problems() == []
    found = await events(nats)
    assert sorted(found) == sorted([one.id, *(e.id for e in sent)])
    for shard in range(SHARDS):
        mine = [e.id for e in sent if e.shard == shard]
        assert [i for i in found if i in mine] == mine
    assert await connection.fetchval("select count(*) from leases where owner <> ''") == 0


async def test_a_restarted_broker_and_a_missing_stream(connection, database, bus, nats):
    async with running(settings(database, bus.url)) as relay:
        await eventually(lambda: not relay.problems(), what="at work")
        first = event(0, 1)
        await append(connection, [first])
        await nats.publish(WAKE_RELAY, b"")
        await eventually(lambda: events(nats), what="published")
        bus.kill()
        second = event(0, 2)
        await append(connection, [second])
        await eventually(relay.problems, what="it says that the broker is away")
        bus.restart()
        await eventually(lambda: drained(connection), timeout=60, what="the rest is published")
        client = await nats_client.connect(bus.url)
        assert await events(client) == [first.id, second.id]
        await api(client, f"STREAM.DELETE.{EVENTS.name}")
        await append(connection, [event(1, 1)])
        await eventually(
            lambda: any("rollcall streams" in problem for problem in relay.problems()),
            what="it says what is missing",
        )
        await made_anew(client)

        async def refilled() -> bool:
            return len(await events(client)) == 3 and await drained(connection)

        await eventually(refilled, timeout=60, what="refilled")
        await client.close()


async def test_a_connection_that_is_closed_for_good_is_replaced(connection, database, bus, nats):
    async with running(settings(database, bus.url)) as relay:
        await eventually(lambda: not relay.problems(), what="at work")
        lost = relay._client
        lost._transport.write(
            b"NONSENSE\r\n"
        )  # the broker answers with an error, at which the library gives up
        await eventually(lambda: lost.is_closed, what="closed")
        await append(connection, [event(0, 1)])
        await eventually(lambda: drained(connection), what="published over another connection")
        assert relay._client is not lost
        await eventually(lambda: not relay.problems(), what="at work again")


async def test_wake_ups_are_asked_for_until_they_are_heard(database, bus, nats, connection, monkeypatch):
    heard, refused, subscribe = asyncio.Event(), [], Client.subscribe

    async def refused_once(client, *given, **named):
        if not refused:
            refused.append(client)
            raise nats_client.errors.StaleConnectionError
        return await subscribe(client, *given, **named)

    async def wake(_relay, _message):
        heard.set()

    monkeypatch.setattr(Client, "subscribe", refused_once)
    monkeypatch.setattr(Relay, "_wake", wake)
    async with running(settings(database, bus.url)) as relay:
        await eventually(lambda: not relay.problems(), what="at work")
        assert refused == [relay._client], "the one connection is kept"
        await nats.publish(WAKE_RELAY, b"")
        await asyncio.wait_for(heard.wait(), 30)


async def test_a_fault_of_ours_in_housekeeping_ends_the_relay(database, bus, monkeypatch):
    async def broken(_self):
        raise ZeroDivisionError

    monkeypatch.setattr(Housekeeping, "run", broken)
    relay = Relay(settings(database, f"nats://127.0.0.1:1, {bus.url}"))
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(relay.run(), 30)


async def drained(connection: asyncpg.Connection) -> bool:
    return await waiting(connection) == 0


async def dsn_of(connection: asyncpg.Connection) -> str:
    host, port = connection._addr
    return f"postgresql://{connection._params.user}@{host}:{port}/{connection._params.database}"


async def api_publish(client, sent) -> None:
    await request(client, sent.subject, sent.payload, {"Nats-Msg-Id": sent.id}, 30)
