"""The engine with a processor about nothing: real Postgres, real broker where the broker matters."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import timedelta

import asyncpg
import pytest

from contracts.subjects import HEADER_REPLY_TO, WEBHOOK
from ops.health import Degraded
from storage import cursors
from tests.eventually import eventually
from tests.faults.proxy import Proxy
from tests.helpers.logs import MemoryStage, NatsStage, fill, once_free
from tests.helpers.toys import TABLE, Toys, Worker, deadlock, lose_connection, restart, rows
from workers.engine import breaker, consumer
from workers.engine.errors import CursorMoved
from workers.engine.record import total
from workers.jetstream import api
from workers.streams import created


@pytest.fixture(scope="module")
async def table(database):
    connection = await asyncpg.connect(database)
    await connection.execute(TABLE)
    await connection.close()


@pytest.fixture
async def db(table, owner):
    """The owner's connection to a database without traces of another test."""
    await owner.execute(
        "truncate toys, cursors, leases, lease_instances, dead_letters, outbox restart identity"
    )
    return owner


@pytest.fixture
async def memory():
    return MemoryStage()


@pytest.fixture
async def remote(bus, nats):
    stage = NatsStage(nats, bus.url)
    await stage.make_anew()
    yield stage
    await stage.log.close()


@pytest.fixture
async def start(database):
    """Starts workers; those that still run at the end are stopped."""
    workers = []

    def begin(stage, toys=None, *, dsn=database, **options):
        worker = Worker(stage.another(), dsn, toys, **options)
        workers.append(worker)
        return worker

    yield begin
    for worker in workers:
        if not worker.task.done():
            await worker.stop()


async def count(db):
    return await db.fetchval("select count(*) from toys")


async def dead(db):
    found = await db.fetch(
        "select position, reason, detail, tenant_id, count from dead_letters order by position"
    )
    return [dict(row) for row in found]


def applied(db, expected):
    async def check():
        there = await count(db)
        assert there == expected
        return True

    return eventually(check, timeout=60)


async def test_order_of_each_key_and_effects_once(db, remote, start):
    for n in range(600):
        await remote.client.publish(f"webhook.message.acme.k{n % 20}", str(n).encode())
    worker = start(remote, lease_seconds=60)
    await applied(db, 600)
    for (_, key), bodies in (await rows(db)).items():
        assert bodies == [str(n) for n in range(600) if f"k{n % 20}" == key]
    assert worker.consumer.problems() == []
    await worker.stop()
    assert await db.fetchval("select count(*) from leases where owner <> ''") == 0
    assert await db.fetchval("select count(*) from lease_instances") == 0
    again = start(remote, lease_seconds=60)
    await fill(remote, range(600, 620), key="k{}")
    await applied(db, 620)
    assert sum(again.toys.applied) == 20


async def test_a_batch_that_arrives_while_another_is_applied(db, memory, start):
    gate = asyncio.Event()

    async def wait(_):
        await gate.wait()

    toys = Toys(before=[wait])
    await fill(memory, [0], key="same")
    start(memory, toys)
    await eventually(lambda: toys.applied)
    await fill(memory, range(1, 30), key="same")
    gate.set()
    await applied(db, 30)
    assert toys.applied[0] == 1
    assert (await rows(db))["acme", "same"] == [str(n) for n in range(30)]


async def test_undecodable_input_is_buried_and_harms_nobody(db, memory, start):
    headers = {"A": "b\0c", HEADER_REPLY_TO: "_INBOX.x"}
    for n in range(150):
        await memory.publish(f"webhook.message.acme.k{n}", b"undecodable" if n % 3 else b"good", headers)
    await memory.publish("webhook.message.acme", b"stray")
    worker = start(memory)
    await applied(db, 50)

    async def all_buried():
        return len(await dead(db)) == 101

    await eventually(all_buried)
    assert worker.consumer.problems() == []
    letters = await dead(db)
    assert letters[-1] == {
        "position": 151, "reason": "bad_subject", "detail": letters[-1]["detail"], "tenant_id": "-", "count": 1
    }  # fmt: skip
    assert {letter["reason"] for letter in letters[:-1]} == {"not_json"}
    kept = await db.fetchrow("select * from dead_letters where position = 2")
    assert (kept["body"], json.loads(kept["headers"])["A"]) == (b"undecodable", "b\ufffdc")
    replies = b"\n".join(r["replies"] for r in await db.fetch("select replies from outbox")).split(b"\n")
    answers = [json.loads(reply.partition(b" ")[2]) for reply in replies if reply]
    statuses = [answer["data"]["status"] for answer in answers]
    assert (statuses.count("applied"), statuses.count("dead")) == (50, 100)
    assert {answer["type"] for answer in answers} == {"result.webhook.message"}
    assert worker.woken


@pytest.mark.parametrize(
    ("body", "reason", "detail"),
    [
        ("refused", "handler_failed", "SQLSTATE 23514 CheckViolationError at toys.toys_body_check"),
        ("nul", "unstorable", "SQLSTATE 22021 CharacterNotInRepertoireError"),
        ("raises", "handler_failed", "KeyError"),
        ("fails", "handler_failed", "RuntimeError"),
    ],
)
async def test_one_poison_in_five_hundred(db, memory, start, body, reason, detail):
    for n in range(500):
        await memory.publish(f"webhook.message.acme.k{n % 7}", body.encode() if n == 250 else str(n).encode())
    worker = start(memory, lanes=1, lease_seconds=60)
    await applied(db, 499)
    for (_, key), bodies in (await rows(db)).items():
        assert bodies == [str(n) for n in range(500) if f"k{n % 7}" == key and n != 250]
    (letter,) = await eventually(lambda: dead(db))
    assert (letter["position"], letter["reason"], letter["detail"]) == (251, reason, detail)
    assert len(worker.toys.applied) <= 20
    assert worker.consumer.problems() == []


async def test_the_processor_says_what_becomes_of_a_buried_message(db, memory, start):
    for body in (b"nul", b"refused", b"good"):
        await memory.publish("webhook.message.acme.k", body)
    start(memory, Toys(known={"nul"}), lanes=1)
    await applied(db, 1)
    assert [letter["position"] for letter in await dead(db)] == [2]


async def publish_all(stage, tenants, numbers, body=b"fails", keys=50):
    for n in numbers:
        await stage.publish(f"webhook.message.{tenants[n % len(tenants)]}.k{n % keys}", body)


@pytest.mark.parametrize("body", [b"fails", b"refused"])
async def test_nothing_but_poison_of_several_tenants_stops_the_worker(db, memory, start, body):
    await publish_all(memory, ["acme", "globex"], range(600), body)
    worker = start(memory)

    async def stopped():
        return any("the worker has stopped" in problem for problem in worker.consumer.problems())

    await eventually(stopped, timeout=60)
    assert await dead(db) == [], "a backlog that fails as a whole buries nothing"
    await asyncio.sleep(1)  # three probes, each in vain
    with_messages = list(memory.log.records)
    positions = await db.fetch("select sequence from cursors where partition = any($1)", with_messages)
    assert {row["sequence"] for row in positions} == {0}
    assert await dead(db) == []
    assert await stopped()


async def test_the_stopped_worker_goes_on_when_a_message_passes(db, memory, start):
    toys = Toys(failing_tenants={"acme", "globex"})
    await publish_all(memory, ["acme", "globex"], range(400), b"good")
    worker = start(memory, toys)
    await eventually(worker.consumer.problems, timeout=60)
    toys.failing_tenants.clear()
    await applied(db, 400)
    assert worker.consumer.problems() == []
    assert await dead(db) == []


async def test_one_bad_tenant_has_its_partitions_paused(db, memory, start):
    toys = Toys(failing_tenants={"bad"})
    await publish_all(memory, ["bad"], range(300), b"good", keys=2)
    await publish_all(memory, ["fine"], range(200), b"good", keys=200)
    worker = start(memory, toys)

    async def paused():
        return [p for p in worker.consumer.problems() if "tenant bad" in p]

    (problem,) = await eventually(paused, timeout=60)
    assert isinstance(problem, Degraded)
    assert await dead(db) == []
    records = memory.log.records
    of_bad = {p for p in records if any(".bad." in record.subject for record in records[p])}
    behind = sum(".fine." in record.subject for p in of_bad for record in records[p])
    assert 0 < behind < 200
    await applied(db, 200 - behind)  # the others go on
    toys.failing_tenants.clear()
    await applied(db, 500)
    await eventually(lambda: not worker.consumer.problems())
    assert await dead(db) == []


@pytest.fixture
async def paused(start, monkeypatch):
    """Starts a worker, and waits until partitions are paused for the tenant that fails."""
    monkeypatch.setattr("workers.engine.lane.READ_SECONDS", 0.2)

    async def begin(stage):
        await publish_all(stage, ["bad"], range(200), b"good", keys=2)
        worker = start(stage, Toys(failing_tenants={"bad"}))
        await eventually(lambda: len(worker.consumer._breaker.paused) == 2, timeout=60)
        assert set(map(type, worker.consumer.problems())) == {Degraded}
        return worker

    return begin


async def test_a_paused_partition_stays_paused_while_the_broker_is_away(db, remote, paused, bus, monkeypatch):
    tried = 0

    class Counting(breaker.Breaker):
        def postpone(self, partition, now):
            nonlocal tried
            tried += 1
            super().postpone(partition, now)

    monkeypatch.setattr(consumer, "Breaker", Counting)
    with Proxy(bus.url) as proxy:
        worker = await paused(NatsStage(remote.client, proxy.url))
        proxy.refuse()
        proxy.cut_all()
        before, pauses = tried, worker.consumer.problems()
        await eventually(lambda: tried > before + 3)
        assert worker.consumer.problems() == pauses
        proxy.release()
        worker.toys.failing_tenants.clear()
        await applied(db, 200)
    assert await dead(db) == []


async def test_a_paused_partition_goes_on_when_its_messages_are_purged(db, memory, paused):
    worker = await paused(memory)
    memory.log.purge(memory.log.last_sequence + 1)
    await eventually(lambda: not worker.consumer.problems())


@pytest.mark.parametrize("trouble", [restart, deadlock, lose_connection])
async def test_what_passes_is_tried_again(db, memory, start, trouble):
    await fill(memory, range(50), key="same")
    start(memory, Toys(before=[trouble, trouble, trouble]))
    await applied(db, 50)
    assert (await rows(db))["acme", "same"] == [str(n) for n in range(50)]
    assert await dead(db) == []


async def test_a_batch_that_is_too_much_is_tried_in_parts(db, memory, start):
    """A transaction that the database gives up each time, for it takes too long, would stop everybody behind it for ever."""
    await fill(memory, range(50), key="same")
    worker = start(memory, Toys(most=3))
    await applied(db, 50)
    assert (await rows(db))["acme", "same"] == [str(n) for n in range(50)]
    assert await dead(db) == []
    assert max(worker.toys.applied) > 3


async def test_what_does_not_pass_stops_the_worker(db, memory, start):
    async def misuse(connection):
        await connection.execute("select from no_such_table")

    await fill(memory, [1])
    worker = start(memory, Toys(before=[misuse]))
    with pytest.raises(asyncpg.UndefinedTableError):
        await asyncio.wait_for(worker.task, 60)
    assert await count(db) == 0


@pytest.mark.parametrize("cut", ["answer", "request"])
async def test_a_commit_of_which_nobody_knows(db, memory, start, database, cut):
    await fill(memory, range(40), key="same")
    with Proxy(database) as proxy:
        worker = start(memory, dsn=proxy.url, lanes=1)
        proxy.arm_commit(cut, b"insert into toys")
        await eventually(proxy.reached.is_set)
        proxy.proceed()
        await eventually(proxy.cut.is_set)
        proxy.release()
        await applied(db, 40)
        assert (await rows(db))["acme", "same"] == [str(n) for n in range(40)]
        await worker.stop()


async def test_connections_that_fall_silent_are_made_anew(db, memory, start, database, monkeypatch):
    monkeypatch.setattr("storage.postgres.SHORT_SECONDS", 0.5)
    monkeypatch.setattr("workers.engine.unit.ROLL_BACK_SECONDS", 0.2)
    expire = "select min(expires_at) from leases"
    with Proxy(database) as proxy:
        worker = start(memory, dsn=proxy.url, batch_seconds=0.5)
        await fill(memory, range(30), key="same")
        await applied(db, 30)
        await eventually(lambda: worker.consumer.held == frozenset(worker.consumer._partitions))
        proxy.silence()
        (sent,) = await fill(
            memory, [30], key="same"
        )  # one lane has it to apply, the other an idle cursor to move
        silent_from = await db.fetchval("select clock_timestamp()")

        async def renewed():
            expires_at = await db.fetchval(expire)
            return expires_at > silent_from + timedelta(seconds=4)

        async def followed():
            found = await db.fetch("select sequence from cursors")
            return {row["sequence"] for row in found} == {sent}

        await eventually(renewed)
        await eventually(followed)
        await applied(db, 31)
        await eventually(lambda: not worker.consumer.problems())


async def test_a_second_owner_loses_the_compare_and_set(db, memory, start):
    """Both believe in the same partitions; each message still takes effect once and in order."""
    one, two = start(memory, name="one"), start(memory, name="two")
    everything = frozenset(one.consumer._partitions)
    await eventually(lambda: one.consumer.held or two.consumer.held)
    for _ in range(20):
        for worker in (one, two):
            for n, lane in enumerate(worker.consumer._lanes):
                lane.want(frozenset(p for p in everything if p % 2 == n))
        await fill(memory, range(25), key="k{}")
        await asyncio.sleep(0.02)
    await applied(db, 500)
    for bodies in (await rows(db)).values():
        assert len(bodies) == 20
    positions = [r["position"] for r in await db.fetch("select position from toys order by key, place")]
    assert len(set(positions)) == 500
    per_key = [positions[n : n + 20] for n in range(0, 500, 20)]
    assert all(found == sorted(found) for found in per_key)


async def test_partitions_are_shared_and_change_hands(db, memory, start):
    one = start(memory, name="one")
    await eventually(lambda: len(one.consumer.held) == 33)
    two = start(memory, name="two")

    def shared():
        held = one.consumer.held, two.consumer.held
        return {len(h) for h in held} == {16, 17} and not held[0] & held[1]

    await eventually(shared, timeout=60)
    sending = asyncio.create_task(fill(memory, range(300), key="k{}"))
    await sending
    await one.stop()
    await eventually(lambda: len(two.consumer.held) == 33, timeout=60)
    await fill(memory, range(300, 400), key="k{}")
    await applied(db, 400)


async def test_leases_of_the_dead_expire(db, memory, start):
    one = start(memory, name="one")
    await eventually(lambda: len(one.consumer.held) == 33)
    one.consumer._leave = one.consumer._disconnect  # a crash hands nothing back
    await one.drop()
    two = start(memory, name="two")
    await eventually(lambda: len(two.consumer.held) == 33, timeout=60)


async def test_draining_finishes_the_batch_in_hand(db, memory, start):
    gate, entered = asyncio.Event(), asyncio.Event()

    async def wait(_):
        entered.set()
        await gate.wait()

    await fill(memory, range(500), key="same")
    worker = start(memory, Toys(before=[wait]), batch_messages=100)
    await entered.wait()
    stopping = asyncio.create_task(worker.stop())
    done, _ = await asyncio.wait([stopping], timeout=0.2)
    assert not done
    gate.set()
    await asyncio.wait_for(stopping, 60)
    assert await count(db) == 100
    start(memory)
    await applied(db, 500)
    assert (await rows(db))["acme", "same"] == [str(n) for n in range(500)]


async def test_a_stream_made_anew_waits_for_the_operator(db, remote, start):
    await fill(remote, range(30), key="same")
    worker = start(remote)
    await applied(db, 30)
    await remote.make_anew()
    await fill(remote, range(30, 60), key="same")

    async def noticed():
        return any("rollcall streams adopt" in problem for problem in worker.consumer.problems())

    await eventually(noticed, timeout=60)
    assert await count(db) == 30
    state = await remote.log.state()
    await cursors.adopt(db, "WEBHOOK", state.created, dict.fromkeys(worker.consumer._partitions, 0))
    await applied(db, 60)
    await eventually(lambda: not worker.consumer.problems())


async def test_a_lane_that_is_left_without_partitions_has_no_problem_with_the_stream(db, memory, start):
    worker = start(memory)
    first, second = worker.consumer._lanes
    await fill(memory, range(30))
    await applied(db, 30)
    await memory.make_anew()
    await fill(memory, [30])
    await eventually(lambda: first.problem and second.problem)
    await db.execute(
        "insert into lease_instances (name, owner, expires_at)"
        " select 'WEBHOOK', 'other ' || n, 'infinity' from generate_series(1, 40) n"
    )
    await eventually(lambda: len(worker.consumer.held) == 1)
    state = await memory.log.state()
    await cursors.adopt(db, "WEBHOOK", state.created, dict.fromkeys(worker.consumer._partitions, 0))
    await eventually(lambda: not worker.consumer.problems())


async def test_idle_partitions_follow_the_end_of_the_stream(db, remote, start):
    sent = await fill(remote, range(20), key="same")
    start(remote)
    await applied(db, 20)

    async def followed():
        found = await db.fetch("select sequence from cursors")
        return {row["sequence"] for row in found} == {sent[-1]}

    await eventually(followed)


async def test_messages_that_wait_and_do_not_move_make_it_unready(db, memory, start, database):
    await fill(memory, range(10), key="same")

    async def refuse(_):
        raise ConnectionResetError

    worker = start(memory, Toys(before=[refuse] * 1000), stall_seconds=0.5)

    def stalled():
        return [p for p in worker.consumer.problems() if "stood still" in p]

    await eventually(stalled)
    worker.toys.before.clear()
    await applied(db, 10)
    await eventually(lambda: not worker.consumer.problems())


async def test_what_was_read_and_not_committed_still_lags(db, memory, start):
    """The database goes away in the middle of a batch, and stays away."""
    await fill(memory, range(10), key="same")
    away = asyncio.Event()
    worker = start(memory, Toys(before=[lose_connection] * 1000))

    async def refuse():
        away.set()
        raise ConnectionRefusedError

    async def look():
        return total([await lane.survey() for lane in worker.consumer._lanes])

    await eventually(lambda: worker.toys.applied)
    for lane in worker.consumer._lanes:
        lane._connect, connect = refuse, lane._connect
    await away.wait()
    lag = await look()
    (first,) = [records[0].time for records in memory.log.records.values()]
    assert (lag.messages, lag.oldest) == (10, first)
    worker.toys.before.clear()
    for lane in worker.consumer._lanes:
        lane._connect = connect
    await applied(db, 10)

    async def nothing_waits():
        return await look() == (0, None, None)

    await eventually(nothing_waits)


async def test_partitions_that_the_broker_lets_nobody_read_make_it_unready(db, remote, start):
    await api(remote.client, "STREAM.DELETE.WEBHOOK")
    one_reader = {**created(WEBHOOK), "max_consumers": 1}
    await once_free(lambda: api(remote.client, "STREAM.CREATE.WEBHOOK", one_reader))
    await fill(remote, [1])
    worker = start(remote, stall_seconds=0.3)

    def said():
        return [p for p in worker.consumer.problems() if "have not been read for" in p]

    for problem in await eventually(said):  # of each lane, and each counts its seconds
        assert problem.startswith("partitions of WEBHOOK have not been read for ")
        assert problem.endswith("s: JetStream: maximum consumers limit reached (10026)")


async def test_a_lost_race_after_which_nothing_is_left_to_do(db, memory, start):
    """Another instance applied it all: nothing waits, so nothing stands still."""
    lost = float("inf")

    async def lose(_):
        nonlocal lost
        memory.log.records.clear()
        lost = time.monotonic()
        raise CursorMoved

    worker = start(memory, Toys(before=[lose]))
    await fill(memory, [1])
    await eventually(lambda: all(lane.moved_at > lost for lane in worker.consumer._lanes))
    assert worker.consumer.problems() == []


async def test_a_dead_letter_counts_its_deaths(db, memory, start):
    await memory.publish("webhook.message.acme.k", b"undecodable")
    start(memory)

    async def buried():
        return await db.fetchval("select id from dead_letters order by id desc limit 1")

    first = await eventually(buried)
    await memory.publish("webhook.message.acme.k", b"undecodable", {"Rollcall-Replay": str(first)})
    await memory.publish("webhook.message.globex.k", b"undecodable", {"Rollcall-Replay": str(first)})

    async def three():
        found = await dead(db)
        return [letter["count"] for letter in found] if len(found) == 3 else None

    assert await eventually(three) == [1, 2, 1]
