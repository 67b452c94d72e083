"""Without a fault everything is as the model says: what the other modules compare rests on this."""

from __future__ import annotations

from tests.faults.stage import Stage, mains


async def test_nothing_happens(stage: Stage):
    traffic = stage.traffic("calm", tenants=3, people=20)
    await stage.prologue(*traffic)
    load = stage.load(mains(traffic))
    await stage.judge("no fault", load, [each.tenant for each in traffic], in_flight=0)
