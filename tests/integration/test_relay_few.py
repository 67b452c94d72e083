"""A few events leave singly, behind a marker that says which are intended: whoever finds it publishes what is missing."""

import pytest

from contracts.subjects import EVENTS, relay_marker
from storage import outbox
from storage.outbox import Marker
from storage.postgres import WRITER, connect
from tests.helpers.outgoing import (
    append,
    drain,
    event,
    events,
    made_anew,
    settle,
    stored,
    waiting,
    window_zero,
)
from workers.jetstream import Refused, api
from workers.relay import marker
from workers.relay.atomic_batch import Mark, publish_mark, publish_singly
from workers.relay.publisher import Publisher


@pytest.fixture
async def connection(database, nats):
    found = await connect(database, WRITER)
    for table in ("outbox", "relay_shards"):
        await found.execute(f"delete from {table}")
    await made_anew(nats)
    yield found
    await found.close()


@pytest.fixture
async def publisher(nats):
    return Publisher(nats)


@pytest.fixture
async def intended(connection, nats):
    """Two events of a shard in one row, and the marker of a relay that died before it had published them all."""
    sent = [event(0, 1), event(0, 2)]
    await append(connection, sent)
    died = Publisher(nats)
    await settle(died, connection)
    (row,) = await outbox.unpublished(connection, [0], 10, 10, 1 << 20)
    mark = Mark(relay_marker(0), marker.body([row.name], 0), 0)
    guard = mark._replace(expected=await publish_mark(nats, mark))
    return sent, died._lines(row), guard


@pytest.mark.parametrize("there", [0, 1, 2])
async def test_what_is_missing_of_an_intent_is_published_once(connection, nats, intended, there):
    sent, lines, guard = intended
    await publish_singly(nats, lines[:there], guard)
    await window_zero(nats)  # the broker remembers no ids: nothing but the marker tells
    await drain(Publisher(nats), connection)
    assert await events(nats) == [e.id for e in sent]
    assert await waiting(connection) == 0


async def test_whoever_intended_and_slept_is_refused(connection, nats, intended):
    sent, lines, guard = intended
    await publish_singly(nats, lines[:1], guard)
    await window_zero(nats)
    await drain(Publisher(nats), connection)
    with pytest.raises(Refused, match="wrong last sequence"):
        await publish_singly(nats, lines[1:], guard)
    assert await events(nats) == [e.id for e in sent]


@pytest.mark.parametrize("kept", [1, 2, 3, 4, 5])
async def test_of_few_events_only_those_that_the_broker_lost_are_published_again(
    connection, publisher, nats, kept
):
    """The stream is the same, and its last messages are not there; those before them are, and must not come twice."""
    sent = [event(0, n, f"c{n}") for n in range(4)]
    for row in (sent[:3], sent[3:]):
        await append(connection, row)
        await drain(publisher, connection)
    everything = [message["sequence"] for message in await stored(nats)]
    assert len(everything) == 6, "two rows, each behind its marker"
    for sequence in everything[kept:]:
        await api(nats, f"STREAM.MSG.DELETE.{EVENTS.name}", {"seq": sequence})
    await window_zero(nats)
    real = marker.log

    async def shorter(client):  # what is deleted leaves the stream's end where it was, what is lost does not
        held = await real(client)
        return held._replace(last=min(held.last, everything[kept - 1]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marker, "log", shorter)
        await drain(Publisher(nats), connection)
    assert await events(nats) == [e.id for e in sent]
    assert await waiting(connection) == 0


async def test_rows_are_marked_with_where_their_events_lie(connection, publisher, nats):
    await append(connection, [event(0, 1), event(0, 2)])
    await drain(publisher, connection)
    assert [m["subject"] for m in await stored(nats)] == [relay_marker(0), *["contact.updated.acme.c"] * 2]
    assert await outbox.reached(connection, 0) == 3
    assert (await outbox.recorded(connection, 0)) == Marker((await marker.log(nats)).created, 1)


async def test_an_intent_of_a_stream_that_is_gone_means_nothing(connection, nats, intended):
    sent, _, _ = intended
    await made_anew(nats)
    await drain(Publisher(nats), connection)
    assert await events(nats) == [e.id for e in sent]
