"""kill -9 at every failpoint, and under load."""

from __future__ import annotations

import signal

import pytest

from tests.faults.stage import CREW, Stage, mains

POINTS = [
    ("inbox", "after_read:2"),
    ("inbox", "before_commit:2"),
    ("inbox", "after_commit:2"),
    ("contacts", "after_read:3"),
    ("contacts", "before_commit:3"),
    ("contacts", "after_commit:3"),
    ("relay", "after_intent:2"),
    ("relay", "between_publish_and_mark:2"),
]


@pytest.mark.parametrize(("worker", "point"), POINTS)
async def test_failpoint(stage: Stage, worker: str, point: str):
    traffic = stage.traffic("kill")
    tenants = [each.tenant for each in traffic]
    await stage.prologue(*traffic)
    await stage.crew.dismiss(*stage.crew.alive(worker))
    doomed = await stage.crew.start(worker, ROLLCALL_FAILPOINT=point)
    load = stage.load(mains(traffic), rate=500)
    assert await stage.until_killed(doomed, load, tenants[0]) == -signal.SIGKILL
    in_flight = await stage.in_flight(load, tenants)
    await stage.crew.ensure(*CREW)
    await stage.judge(f"kill -9 {worker} at {point}", load, tenants, in_flight=in_flight)


async def test_every_worker_under_load(stage: Stage):
    traffic = stage.traffic("massacre", people=25)
    tenants = [each.tenant for each in traffic]
    await stage.prologue(*traffic)
    load = stage.load(mains(traffic), rate=500)
    total = len(load.drafts)
    in_flight = 0
    for part, worker in enumerate(("inbox", "relay", "contacts"), start=1):
        await load.reached(total * part // 4)
        for process in stage.crew.alive(worker):
            process.signal(signal.SIGKILL)
            await process.until_dead()
        in_flight = max(in_flight, await stage.in_flight(load, tenants))
        await stage.crew.start(worker, wait=False)
    await stage.crew.ensure(*CREW)
    await stage.judge("kill -9 inbox, relay, contacts in turn", load, tenants, in_flight=in_flight)
