"""Streams that are not what they were, and a relay that slept too long."""

from __future__ import annotations

import signal
from dataclasses import replace

import asyncpg

from tests.eventually import eventually
from tests.faults.stage import CREW, Stage, mains
from tests.helpers.forked import rollcall

PROBE = "relay.probe"  # on EVENTS, beside the relay's markers


async def test_a_stream_made_anew_under_a_running_worker(stage: Stage):
    first = stage.traffic("before", tenants=1)
    await stage.prologue(*first)
    await stage.judge(
        "before the stream is deleted", stage.load(mains(first)), [first[0].tenant], in_flight=0
    )
    js = stage.client.jetstream()
    await js.delete_stream("WEBHOOK")

    async def made_anew() -> bool:  # the broker refuses while it removes the files of the old one
        ran = await rollcall("streams", environment=stage.crew.environment)
        assert ran.code == 0, ran.stderr
        return True

    await eventually(made_anew, what="the stream is made")
    (worker,) = stage.crew.alive("inbox")

    async def says_so() -> bool:
        status, text = await worker.readiness()
        assert status == 503, text
        assert "WEBHOOK" in text, text
        return True

    second = stage.traffic("after", tenants=1)
    tenant = second[0].tenant
    await stage.publish([draft for draft in second[0].prologue if draft.subject.startswith("command")])
    load = stage.load(mains(second))
    await load.finish()
    await eventually(says_so, timeout=60, what="the worker is unready and names the stream")
    assert await timeline_rows(stage, tenant, "general") == 0, "read a stream that nobody adopted"
    in_flight = await stage.in_flight(load, [tenant])
    ran = await rollcall("streams", "adopt", environment=stage.crew.environment)
    assert ran.code == 0, ran.stderr
    assert "WEBHOOK" in ran.stdout
    await stage.crew.ensure(*CREW)
    await stage.judge("WEBHOOK deleted and made anew, adopted", load, [tenant], in_flight=in_flight)


async def test_a_relay_asleep_past_the_duplicate_window(stage: Stage):
    js = stage.client.jetstream()
    config = (await js.stream_info("EVENTS")).config
    await js.update_stream(replace(config, duplicate_window=0.2))
    try:
        await _killed_between_publish_and_mark(stage)
        await _stopped_under_load(stage)
    finally:
        await js.update_stream(config)


async def _killed_between_publish_and_mark(stage: Stage) -> None:
    traffic = stage.traffic("window", people=15)
    tenants = [each.tenant for each in traffic]
    await stage.prologue(*traffic)
    await stage.crew.dismiss(*stage.crew.alive("relay"))
    doomed = await stage.crew.start("relay", ROLLCALL_FAILPOINT="between_publish_and_mark:3")
    load = stage.load(mains(traffic), rate=500)
    assert await stage.until_killed(doomed, load, tenants[0]) == -signal.SIGKILL
    in_flight = await stage.in_flight(load, tenants)
    await window_passed(stage)
    await stage.crew.ensure(*CREW)
    await stage.judge("relay away past the duplicate window", load, tenants, in_flight=in_flight)


async def _stopped_under_load(stage: Stage) -> None:
    traffic = stage.traffic("doze", people=20)
    tenants = [each.tenant for each in traffic]
    await stage.prologue(*traffic)
    load = stage.load(mains(traffic), rate=400)
    await load.reached(len(load.drafts) // 3)
    (sleeper,) = stage.crew.alive("relay")
    sleeper.signal(signal.SIGSTOP)
    in_flight = await stage.in_flight(load, tenants)
    await stage.crew.start("relay")
    await load.finish()
    await stage.settle(tenants)
    await window_passed(stage)
    sleeper.signal(signal.SIGCONT)
    await stage.judge("relay asleep past lease and duplicate window", load, tenants, in_flight=in_flight)


async def window_passed(stage: Stage) -> None:
    """Until the broker has forgotten what it was given before."""
    js = stage.client.jetstream()
    headers = {"Nats-Msg-Id": stage.tenant("probe")}
    await js.publish(PROBE, b"", headers=headers)

    async def forgotten() -> bool:
        ack = await js.publish(PROBE, b"", headers=headers)
        return not ack.duplicate

    await eventually(forgotten, interval=0.1, what="the duplicate window has passed")


async def timeline_rows(stage: Stage, tenant: str, category: str) -> int:
    connection = await asyncpg.connect(stage.dsn)
    try:
        return await connection.fetchval(
            "select count(*) from contact_events where tenant_id = $1 and category = $2", tenant, category
        )
    finally:
        await connection.close()
