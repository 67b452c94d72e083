"""Owners that are no owners any more: stopped until their lease has gone, or never told that another took over."""

from __future__ import annotations

import signal

import asyncpg
import pytest

from tests.eventually import eventually
from tests.faults.crew import Process
from tests.faults.stage import Stage, mains


async def leases_of(stage: Stage, process: Process) -> int:
    connection = await asyncpg.connect(stage.dsn)
    try:
        return await connection.fetchval(
            "select count(*) from leases where owner = $1 and expires_at > now()", process.label
        )
    finally:
        await connection.close()


async def activity(stage: Stage) -> str:
    """What the database's sessions do, for a failure's text."""
    connection = await asyncpg.connect(stage.dsn)
    try:
        rows = await connection.fetch(
            "select application_name, state, wait_event, now() - xact_start as age, left(query, 60) as query,"
            " pg_blocking_pids(pid) as blocked_by, pid from pg_stat_activity where backend_type = 'client backend'"
        )
    finally:
        await connection.close()
    return "\n".join(" ".join(str(value) for value in row) for row in rows)


async def owns(stage: Stage, process: Process) -> None:
    async def owning() -> bool:
        return await leases_of(stage, process) > 0

    await eventually(owning, timeout=60, what=f"{process.label} owns something")


@pytest.mark.parametrize("worker", ["inbox", "contacts", "relay"])
async def test_stopped_past_the_lease(stage: Stage, worker: str):
    traffic = stage.traffic("zombie", people=16)
    tenants = [each.tenant for each in traffic]
    await stage.prologue(*traffic)
    (first,) = stage.crew.alive(worker)
    await owns(stage, first)
    load = stage.load(mains(traffic), rate=400)
    await load.reached(len(load.drafts) // 3)
    first.signal(signal.SIGSTOP)
    in_flight = await stage.in_flight(load, tenants)
    second = await stage.crew.start(worker)

    async def handed_over() -> bool:
        owners = [await leases_of(stage, process) for process in (first, second)]
        assert owners[0] == 0, f"the sleeper owns {owners[0]}"
        assert owners[1] > 0, f"the second owns nothing: {second.tail(600)}\n{await activity(stage)}"
        return True

    await eventually(handed_over, timeout=60, what="the second owns what the first had")
    await load.reached(len(load.drafts) * 2 // 3)
    first.signal(signal.SIGCONT)  # it wakes under load, with a batch in hand
    await stage.judge(f"SIGSTOP {worker} past its lease, SIGCONT", load, tenants, in_flight=in_flight)


MOMENTS = {
    "between two statements": "state like 'idle in transaction%'",
    "in the middle of a COPY": "state = 'active' and wait_event = 'ClientRead' and query like 'COPY%'",
}


@pytest.mark.parametrize("moment", MOMENTS)
async def test_stopped_inside_a_transaction(stage: Stage, moment: str):
    """A sleeper must not hold its locks for as long as it sleeps: the next owner gets on meanwhile."""
    traffic = stage.traffic("sleeper", people=25)
    tenants = [each.tenant for each in traffic]
    await stage.prologue(*traffic)
    (first,) = stage.crew.alive("inbox")
    load = stage.load(mains(traffic), rate=400)
    await load.reached(20)
    caught = await _stop_at(stage, first, MOMENTS[moment])
    in_flight = await stage.in_flight(load, tenants)
    await stage.crew.start("inbox")
    await load.finish()
    await stage.settle(tenants)
    first.signal(signal.SIGCONT)
    what = moment if caught else "somewhere"
    await stage.judge(f"SIGSTOP inbox {what}, SIGCONT", load, tenants, in_flight=in_flight)


async def _stop_at(stage: Stage, process: Process, moment: str) -> bool:
    """Stop the process when a session of its worker is at that moment; after many tries, wherever it is."""
    connection = await asyncpg.connect(stage.dsn)
    try:
        for _ in range(400):
            process.signal(signal.SIGSTOP)
            if await connection.fetchval(
                "select count(*) from pg_stat_activity where application_name like 'rollcall%inbox%'"
                f" and backend_type = 'client backend' and {moment}"
            ):
                return True
            process.signal(signal.SIGCONT)
    finally:
        await connection.close()
    process.signal(signal.SIGSTOP)
    return False


@pytest.mark.parametrize("worker", ["inbox", "contacts"])
async def test_two_owners_of_every_partition(stage: Stage, worker: str):
    """The first believes in its lease for minutes; the database has given it away."""
    traffic = stage.traffic("twins", people=16)
    tenants = [each.tenant for each in traffic]
    await stage.prologue(*traffic)
    await stage.crew.dismiss(*stage.crew.alive(worker))
    first = await stage.crew.start(worker, ROLLCALL_LEASE_SECONDS="300")
    await owns(stage, first)
    second = await stage.crew.start(worker)
    load = stage.load(mains(traffic), rate=400)
    await load.reached(50)
    in_flight = await stage.in_flight(load, tenants)
    connection = await asyncpg.connect(stage.dsn)
    try:
        await connection.execute(
            "update leases set owner = '', expires_at = '-infinity' where owner = $1", first.label
        )
        await connection.execute("delete from lease_instances where owner = $1", first.label)
    finally:
        await connection.close()
    await owns(stage, second)
    await stage.judge(f"two {worker} workers own every partition", load, tenants, in_flight=in_flight)
    await stage.crew.dismiss(first)
