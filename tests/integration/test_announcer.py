"""Dead letters on the bus: whole where the broker takes them, cut where not, and never acting on the broker."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from storage import dead_letters
from storage.dead_letters import NewDeadLetter
from storage.postgres import WRITER, connect
from tests.eventually import eventually
from tests.helpers.outgoing import made_anew, running, settings
from workers.jetstream import NoAnswer, api
from workers.relay import announcer
from workers.relay.announcer import announce


@pytest.fixture
async def connection(database: str, nats):
    found = await connect(database, WRITER)
    for table in ("dead_letters", "outbox", "leases", "lease_instances", "relay_shards"):
        await found.execute(f"delete from {table}")
    await made_anew(nats)
    yield found
    await found.close()


def letter(**given) -> NewDeadLetter:
    return NewDeadLetter(
        **{
            "stream": "WEBHOOK",
            "tenant": "acme",
            "partition": 7,
            "position": 42,
            "subject": "webhook.whatsapp.acme.k",
            "reason": "not_json",
            "detail": "line 1",
            "headers": {},
            "body": b"{broken",
            "broker_time": datetime(2026, 1, 1, tzinfo=UTC),
            **given,
        }
    )


async def listen(nats, subject: str = "deadletter.>"):
    return await nats.jetstream().subscribe(subject, ordered_consumer=True)


async def test_the_original_with_what_is_known_of_it(connection, nats):
    (id_,) = await dead_letters.insert(
        connection, [letter(headers={"Rollcall-Reply-To": "_INBOX.x", "X-A": "1"})]
    )
    assert await announce(nats, connection) == 1
    heard = await (await listen(nats, "deadletter.WEBHOOK.acme")).next_msg(timeout=30)
    assert heard.data == b"{broken"
    assert heard.headers == {
        "Nats-Msg-Id": str(id_),
        "Rollcall-Dead-Letter": str(id_),
        "Rollcall-Reason": "not_json",
        "Rollcall-Detail": "line 1",
        "Rollcall-Stream": "WEBHOOK",
        "Rollcall-Subject": "webhook.whatsapp.acme.k",
        "Rollcall-Position": "42",
        "Rollcall-Partition": "7",
        "Rollcall-Count": "1",
        "Rollcall-Time": "2026-01-01T00:00:00+00:00",
        "Rollcall-Reply-To": "_INBOX.x",
        "X-A": "1",
    }
    assert await announce(nats, connection) == 0


async def test_headers_that_the_broker_would_act_on_or_refuse(connection, nats):
    hostile = {
        "Nats-Msg-Id": "theirs",
        "nats-expected-last-sequence": "99",
        "Nats-Rollup": "all",
        "Rollcall-Reason": "forged",
        "X-Lines": "a\r\nNats-TTL: 1s",
        "X-Größe": "groß \ud83d",
        "bad name:": "v",
        "X-Huge": "x" * 100_000,
    }
    (id_,) = await dead_letters.insert(connection, [letter(headers=hostile, detail="a\nb", tenant="*")])
    assert await announce(nats, connection) == 1
    heard = await (await listen(nats, "deadletter.WEBHOOK.-")).next_msg(timeout=30)
    assert heard.headers["Nats-Msg-Id"] == str(id_)
    assert heard.headers["Rollcall-Reason"] == "not_json"
    assert heard.headers["Rollcall-Detail"] == "a b"
    assert heard.headers["Rollcall-Original-Nats-Msg-Id"] == "theirs"
    assert heard.headers["Rollcall-Original-Rollcall-Reason"] == "forged"
    assert heard.headers["Rollcall-Original-Nats-Rollup"] == "all"
    assert heard.headers["X-Lines"] == "a  Nats-TTL: 1s"
    assert heard.headers["X-Gr__e"].startswith("gro\\xdf")
    assert heard.headers["bad_name_"] == "v"
    assert "X-Huge" not in heard.headers
    assert "Nats-TTL" not in heard.headers


async def test_cut_where_the_broker_would_refuse(connection, nats):
    body = bytes(range(256)) * 32 * 1024 + b"tail"
    await dead_letters.insert(connection, [letter(body=body, headers={"X-A": "x" * 30_000})])
    assert await announce(nats, connection) == 1
    heard = await (await listen(nats)).next_msg(timeout=30)
    assert heard.headers["Rollcall-Truncated"] == str(len(body))
    assert nats.max_payload - 40_000 < len(heard.data) < nats.max_payload
    assert body.startswith(heard.data)
    row = await connection.fetchrow("select body, published_at from dead_letters")
    assert row["body"] == body
    assert row["published_at"] is not None


async def test_a_flood_leaves_piece_by_piece(connection, nats):
    await dead_letters.insert(connection, [letter(position=n) for n in range(120)])
    assert [await announce(nats, connection) for _ in range(4)] == [50, 50, 20, 0]
    state = (await api(nats, "STREAM.INFO.DEADLETTER"))["state"]
    assert state["messages"] == 120


async def test_what_the_bus_does_not_take_waits(connection, nats, monkeypatch):
    await dead_letters.insert(connection, [letter(position=1), letter(position=2, stream="COMMAND")])
    publish = announcer.request

    async def deaf(client, subject, *given):
        if "COMMAND" in subject:
            raise NoAnswer(subject)
        return await publish(client, subject, *given)

    monkeypatch.setattr(announcer, "request", deaf)
    with pytest.raises(NoAnswer):
        await announce(nats, connection)
    monkeypatch.undo()
    assert await announce(nats, connection) == 1


async def test_the_relay_announces_and_says_when_it_cannot(connection, database, bus, nats):
    async with running(settings(database, bus.url)) as relay:
        await eventually(lambda: not relay.problems(), what="at work")
        await dead_letters.insert(connection, [letter()])

        async def announced() -> bool:
            return (
                await connection.fetchval("select count(*) from dead_letters where published_at is null") == 0
            )

        await eventually(announced, what="announced")
        await api(nats, "STREAM.DELETE.DEADLETTER")
        await dead_letters.insert(connection, [letter()])
        await eventually(
            lambda: any("dead letters wait" in problem for problem in relay.problems()), what="it says so"
        )
        await made_anew(nats)
        await eventually(announced, what="announced after all")
        await eventually(lambda: not relay.problems(), what="at work again")
