"""The servers die, and come back with what they had promised."""

from __future__ import annotations

import asyncpg

from tests.eventually import eventually
from tests.faults.stage import CREW, Stage, mains


async def test_nats_killed_and_restarted(stage: Stage):
    traffic = stage.traffic("nats", people=20)
    tenants = [each.tenant for each in traffic]
    await stage.prologue(*traffic)
    load = stage.load(
        mains(traffic), rate=400, patience=2
    )  # what the broker dies with in hand is not confirmed
    await load.reached(len(load.drafts) // 3)
    stage.stack.kill_nats()
    workers = [p for name in CREW for p in stage.crew.alive(name)]

    async def unready() -> bool:
        return all([(await p.readiness())[0] == 503 for p in workers])

    await eventually(unready, timeout=60, what="every worker says that it is unready")
    stage.stack.restart_nats()
    in_flight = await stage.in_flight(load, tenants)
    for process in workers:
        await process.until_ready()
    # Results are core messages: those that the broker had in hand died with it. The same id again would be answered.
    await stage.judge("kill -9 nats-server, restart", load, tenants, in_flight=in_flight, replies_kept=False)
    assert all(p.exit_code is None for p in workers)


async def test_postgres_killed_and_restarted(stage: Stage):
    traffic = stage.traffic("postgres", people=20)
    tenants = [each.tenant for each in traffic]
    await stage.prologue(*traffic)
    load = stage.load(mains(traffic), rate=400)
    await load.reached(len(load.drafts) // 3)
    stage.stack.kill_postgres()
    in_flight = await stage.in_flight(load, tenants)
    await load.finish()  # the bus accepts while the database is away
    workers = [p for name in CREW for p in stage.crew.alive(name)]
    stage.stack.restart_postgres()
    for process in workers:
        await process.until_ready()
    await stage.judge("kill -9 postgres, restart", load, tenants, in_flight=in_flight)
    assert all(p.exit_code is None for p in workers)


async def test_every_backend_terminated_again_and_again(stage: Stage):
    traffic = stage.traffic("backends", people=20)
    tenants = [each.tenant for each in traffic]
    await stage.prologue(*traffic)
    load = stage.load(mains(traffic), rate=400)
    in_flight = terminated = 0
    for part in range(1, 6):
        await load.reached(len(load.drafts) * part // 6)
        in_flight = max(in_flight, await stage.in_flight(load, tenants))
        connection = await asyncpg.connect(stage.dsn)
        try:
            terminated += await connection.fetchval(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                " where pid <> pg_backend_pid() and backend_type = 'client backend'"
            )
        finally:
            await connection.close()
    await stage.judge(f"pg_terminate_backend {terminated} times", load, tenants, in_flight=in_flight)
