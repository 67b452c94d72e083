"""What makes a process ready, degraded or unready."""

from __future__ import annotations

import asyncio
import time

import pytest

from ops import health as module
from ops.health import Degraded, Health


class Asked:
    """A check that counts, and answers what it is told to."""

    def __init__(self, answer: str | Exception | None = None) -> None:
        self.answer = answer
        self.times = 0

    async def __call__(self) -> str | None:
        self.times += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_without_problems_it_is_ready() -> None:
    health = Health()
    health.check("bus", Asked())
    health.watch("work", list)
    report = await health.ready()
    assert (report.status, report.problems, report.http_status) == ("ready", [], 200)


async def test_a_problem_of_a_check_makes_it_unready_under_its_name() -> None:
    health = Health()
    health.check("bus", Asked("not connected"))
    health.check("database", Asked(OSError("postgresql://u:hunter2@db refused")))
    report = await health.ready()
    assert (report.status, report.http_status) == ("unready", 503)
    assert report.problems == ["bus: not connected", "database: postgresql://***@db refused"]


async def test_a_degraded_process_is_ready() -> None:
    health = Health()
    health.check("search", Asked(Degraded("out of reach")))
    health.watch("work", lambda: [Degraded("partition 7 paused: tenant acme")])
    report = await health.ready()
    assert (report.status, report.http_status) == ("degraded", 200)
    assert report.problems == ["search: out of reach", "partition 7 paused: tenant acme"]

    health.watch("more", lambda: ["position has stood still for 31 s"])
    assert (await health.ready()).status == "unready"


async def test_what_a_process_knows_itself_is_hidden_as_well() -> None:
    health = Health()
    health.watch(
        "work",
        lambda: [Degraded("postgresql://u:hunter2@db: taken\nDETAIL:  Key (email)=(ann@x.de) exists.")],
    )
    report = await health.ready()
    assert report.problems == ["postgresql://***@db: taken\nDETAIL:  ***"]
    assert report.status == "degraded"


async def test_a_check_that_hangs_is_a_problem() -> None:
    health = Health(timeout=0.02)

    async def hangs() -> str | None:
        await asyncio.Event().wait()
        return None

    health.check("database", hangs)
    assert (await health.ready()).problems == ["database: no answer within 0.02 s"]


async def test_checks_are_kept_for_a_while_and_the_own_problems_are_not() -> None:
    health = Health(fresh=60)
    check, own = Asked(), list[str]()
    health.check("bus", check)
    health.watch("work", lambda: own)
    assert (await health.ready()).status == "ready"
    own.append("draining")
    assert (await health.ready()).problems == ["draining"]
    assert check.times == 1


async def test_many_who_ask_at_once_share_one_look() -> None:
    health = Health()
    check = Asked()
    health.check("bus", check)
    await asyncio.gather(*(health.ready() for _ in range(20)))
    assert check.times == 1


async def test_one_who_goes_away_does_not_end_the_look_of_the_others() -> None:
    health = Health()
    answer = asyncio.Event()

    async def slow() -> str | None:
        await answer.wait()
        return "found"

    health.check("database", slow)
    first, second = asyncio.create_task(health.ready()), asyncio.create_task(health.ready())
    await asyncio.sleep(0)
    first.cancel()
    answer.set()
    assert (await second).problems == ["database: found"]


async def test_what_is_mended_shows_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRESH_PROBLEM", 0)
    health = Health(fresh=60)
    check = Asked("not connected")
    health.check("bus", check)
    assert (await health.ready()).status == "unready"
    check.answer = None
    assert (await health.ready()).status == "ready"


async def test_a_service_that_cannot_say_how_it_is_has_a_problem() -> None:
    health = Health()

    def broken() -> list[str]:
        raise KeyError("x")

    health.watch("relay", broken)
    assert (await health.ready()).problems == ["relay: cannot say how it is (KeyError)"]


async def test_the_watchdog_sees_a_loop_that_was_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK", 0.01)
    health = Health()
    watchdog = asyncio.create_task(health.watch_loop())
    assert health.live() == {"status": "alive", "loop_lag_ms": 0.0}
    await asyncio.sleep(0)  # the watchdog begins to wait
    time.sleep(0.1)  # noqa: ASYNC251 - the loop is to be held
    await asyncio.sleep(0.001)
    assert health.live()["loop_lag_ms"] > 50
    watchdog.cancel()
