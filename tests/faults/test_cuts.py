"""Connections cut at the worst moment, by a proxy between a worker and its server."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from tests.faults.proxy import Proxy
from tests.faults.stage import Load, Stage, mains


async def _committed(stage: Stage, worker: str) -> int:
    """How far this worker has committed: its cursors move in the transaction that writes its rows."""
    connection = await asyncpg.connect(stage.dsn)
    try:
        stream = "WEBHOOK" if worker == "inbox" else "COMMAND"
        return await connection.fetchval(
            "select sum(sequence)::bigint from cursors where stream = $1", stream
        )
    finally:
        await connection.close()


@pytest.mark.parametrize("worker", ["inbox", "contacts"])
@pytest.mark.parametrize("what", ["answer", "request"])
async def test_outcome_of_a_commit_is_unknown(stage: Stage, worker: str, what):
    """ "answer": the server commits and nobody hears of it. "request": the server never hears of the commit."""
    traffic = stage.traffic("commit", people=15)
    tenants = [each.tenant for each in traffic]
    with Proxy(stage.dsn) as proxy:
        await stage.crew.dismiss(*stage.crew.alive(worker))
        process = await stage.crew.start(worker, ROLLCALL_POSTGRES_DSN=proxy.url, ROLLCALL_LANES="1")
        await stage.prologue(*traffic)
        drafts = mains(traffic)
        load = Load(drafts)
        in_flight = 0
        for part in range(3):  # armed before each third, so that there is something left to commit
            proxy.arm_commit(what, of=b"contact_events")
            third = drafts[len(drafts) * part // 3 : len(drafts) * (part + 1) // 3]
            load.task = asyncio.create_task(stage.publish(third, 500, load))
            assert await asyncio.to_thread(proxy.reached.wait, 60), "no COMMIT came by"
            before = await _committed(stage, worker)
            in_flight = max(in_flight, await stage.in_flight(load, tenants))
            proxy.proceed()
            assert await asyncio.to_thread(proxy.cut.wait, 60)
            there = await _committed(stage, worker) > before
            assert there == (what == "answer")
            proxy.release()
            await load.finish()
        rows = "rows were there" if what == "answer" else "rows were not there"
        cut = "COMMIT forwarded, its answer cut" if what == "answer" else "cut before COMMIT"
        await stage.judge(f"{worker}: {cut}, 3 times; {rows}", load, tenants, in_flight=in_flight)
        assert process.exit_code is None
        await stage.crew.dismiss(process)


@pytest.mark.parametrize("worker", ["inbox", "contacts", "relay"])
async def test_bus_connection_cut_in_the_middle(stage: Stage, worker: str):
    """Of the inbox in the middle of a pull: AckNone consumers skip silently there, and no message may be skipped."""
    traffic = stage.traffic("pull", people=25)
    tenants = [each.tenant for each in traffic]
    await stage.prologue(*traffic)
    with Proxy(stage.stack.nats_url) as proxy:
        await stage.crew.dismiss(*stage.crew.alive(worker))
        drafts = mains(traffic)
        load = stage.load(drafts[: len(drafts) // 2])
        await load.finish()  # a backlog, so that pulls are full
        proxy.arm_bytes(40_000 if worker != "relay" else 6_000)
        process = await stage.crew.start(worker, ROLLCALL_NATS_URL=proxy.url, wait=False)
        assert await asyncio.to_thread(proxy.cut.wait, 60), "nothing was read"
        in_flight = await stage.in_flight(load, tenants)
        rest = stage.load(drafts[len(drafts) // 2 :], rate=600)
        for part in range(1, 4):
            await rest.reached(len(rest.drafts) * part // 4)
            proxy.cut_all()
        await rest.finish()
        load.acknowledged += rest.acknowledged
        await stage.judge(
            f"{worker}: bus connection cut in mid-stream 4 times", load, tenants, in_flight=in_flight
        )
        assert process.exit_code is None
        await stage.crew.dismiss(process)
