"""Workers come and go while messages flow."""

from __future__ import annotations

from tests.faults.stage import CREW, Stage, mains


async def test_one_three_one(stage: Stage):
    traffic = stage.traffic("scale", tenants=3, people=25, steps=8)
    tenants = [each.tenant for each in traffic]
    await stage.prologue(*traffic)
    load = stage.load(mains(traffic), rate=300)
    originals = [*stage.crew.alive("inbox"), *stage.crew.alive("contacts")]
    newcomers = [await stage.crew.start(name, wait=False) for name in ("inbox", "contacts") * 2]
    for process in newcomers:
        await process.until_ready()
    await load.reached(len(load.drafts) // 2)
    in_flight = await stage.in_flight(load, tenants)
    codes = await stage.crew.dismiss(*originals, *newcomers[:2])
    assert codes == [0] * len(codes)
    await stage.judge("inbox and contacts 1 to 3 to 1", load, tenants, in_flight=in_flight)


async def test_sigterm_under_load(stage: Stage):
    traffic = stage.traffic("drain", people=25)
    tenants = [each.tenant for each in traffic]
    await stage.prologue(*traffic)
    load = stage.load(mains(traffic), rate=500)
    await load.reached(len(load.drafts) // 2)
    in_flight = await stage.in_flight(load, tenants)
    running = [p for name in CREW for p in stage.crew.alive(name)]
    codes = await stage.crew.dismiss(*running)
    assert codes == [0] * len(codes)
    await load.finish()
    await stage.crew.ensure(*CREW)
    await stage.judge("SIGTERM to every worker under load", load, tenants, in_flight=in_flight)
