"""Handlers that raise: on one message, on everything, on everything of one tenant."""

from __future__ import annotations

import sys

import asyncpg

from tests.eventually import eventually
from tests.faults.crew import Process
from tests.faults.poison_worker import MARK
from tests.faults.stage import Stage
from tests.model.build import Draft, neutral

COMMAND = [sys.executable, "-m", "tests.faults.poison_worker"]


def texts(tenant: str, count: int, prefix: str, *, poison: set[int], keys: int = 1000) -> list[Draft]:
    return [
        neutral(
            tenant,
            f"k{n % keys}",
            f"+49152{prefix}{n:05}",
            message_id=f"m{n}",
            text=MARK if n in poison else "fine",
            occurred_at="2026-03-01T09:00:00Z",
        )
        for n in range(count)
    ]


async def poisoned_inbox(stage: Stage) -> Process:
    await stage.crew.dismiss(*stage.crew.alive("inbox"))
    return await stage.crew.start("inbox", command=COMMAND)


async def dead(stage: Stage, *tenants: str) -> int:
    connection = await asyncpg.connect(stage.dsn)
    try:
        return await connection.fetchval(
            "select count(*) from dead_letters where tenant_id = any($1)", tenants
        )
    finally:
        await connection.close()


async def test_one_in_five_hundred(stage: Stage):
    tenant = stage.tenant("needle")
    await stage.crew.dismiss(*stage.crew.alive("inbox"))
    load = stage.load(texts(tenant, 500, "610", poison={250}))
    await load.finish()  # a backlog: it comes in one batch
    process = await stage.crew.start("inbox", command=COMMAND)
    verdict = await stage.judge(
        "1 poison in 500", load, [tenant], in_flight=500, poison=lambda m: MARK.encode() in m.body
    )
    assert verdict.fates == {"applied": 499, "dead": 1}
    await stage.crew.dismiss(process)


async def test_nothing_but_poison(stage: Stage):
    """The worker stops loudly and keeps its position; a mended one applies what is left."""
    tenants = [stage.tenant("flood"), stage.tenant("flood")]
    process = await poisoned_inbox(stage)
    everything = [
        draft
        for pair in zip(*(texts(t, 300, p, poison=set(range(300))) for t, p in zip(tenants, ("620", "630"), strict=True)), strict=True)
        for draft in pair
    ]  # fmt: skip
    load = stage.load(everything)
    await load.finish()

    async def stopped() -> bool:
        code, text = await process.readiness()
        assert code == 503, text
        return "handlers fail" in text

    await eventually(stopped, timeout=60, what="the breaker opens and says so")
    buried = await dead(stage, *tenants)
    assert buried < 300, "the world was dead-lettered"
    in_flight = await stage.in_flight(load, tenants)
    await stage.crew.dismiss(process)
    await stage.crew.ensure("inbox")
    await stage.settle(tenants)
    at = await positions(stage, *tenants)
    verdict = await stage.judge(
        f"nothing but poison ({buried} buried before the breaker opened)",
        load,
        tenants,
        in_flight=in_flight,
        poison=lambda m: (m.stream, m.sequence) in at,
    )
    assert verdict.fates["dead"] == buried


async def test_one_bad_tenant(stage: Stage):
    """Its partitions, few of all, are paused and named; on the others everyone goes on."""
    bad, good = stage.tenant("bad"), stage.tenant("good")
    process = await poisoned_inbox(stage)
    load = stage.load(texts(bad, 300, "640", poison=set(range(300)), keys=4))
    await load.finish()

    async def named() -> bool:
        return f"tenant {bad}" in (await process.readiness())[1]

    await eventually(named, timeout=60, what="readyz names the bad tenant")
    healthy = stage.load(texts(good, 400, "650", poison=set()))
    await healthy.finish()

    async def most_of_it() -> bool:
        connection = await asyncpg.connect(stage.dsn)
        try:
            return await connection.fetchval("select count(*) from contacts where tenant_id = $1", good) > 250
        finally:
            await connection.close()

    await eventually(most_of_it, timeout=60, what="the other tenant goes on")
    await eventually(named, what="it still does, unless its partitions have just changed hands")
    in_flight = await stage.in_flight(load, [bad])
    await stage.crew.dismiss(process)
    await stage.crew.ensure("inbox")
    load.acknowledged += healthy.acknowledged
    await stage.settle([bad, good])
    at = await positions(stage, bad)
    await stage.judge(
        f"one bad tenant ({len(at)} buried before its partitions were paused)",
        load,
        [bad, good],
        in_flight=in_flight,
        poison=lambda m: (m.stream, m.sequence) in at,
    )


async def positions(stage: Stage, *tenants: str) -> set[tuple[str, int]]:
    connection = await asyncpg.connect(stage.dsn)
    try:
        rows = await connection.fetch(
            "select stream, position from dead_letters where tenant_id = any($1) and reason = 'handler_failed'",
            tenants,
        )
    finally:
        await connection.close()
    return {(row["stream"], row["position"]) for row in rows}
