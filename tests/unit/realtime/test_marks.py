"""Marks that wait for a bus that takes nothing, or is slow."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.vocabulary import Role
from workers.realtime import marks as module
from workers.realtime.marks import MOST_OF_ACTOR, MOST_OF_TENANT, Marks, TooManyMarks
from workers.realtime.rights import Rights


class Bus:
    """In the place of a client and its JetStream. ``taken``: how many ids, by tenant."""

    def __init__(self) -> None:
        self.away = True
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()
        self.taken: Counter[str] = Counter()

    def jetstream(self) -> Bus:
        return self

    async def publish(self, subject: str, body: bytes, **_: Any) -> None:
        self.asked.set()
        await self.answers.wait()
        if self.away:
            raise TimeoutError
        self.taken[subject.split(".")[3]] += len(json.loads(body)["data"]["event_ids"])


def rights(tenant: str, actor: str) -> Rights:
    return Rights(tenant, Role.AGENT, None, actor, datetime.max.replace(tzinfo=UTC))


def ids(count: int) -> list[uuid.UUID]:
    return [uuid.uuid4() for _ in range(count)]


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def marks(bus: Bus) -> Marks:
    return Marks(lambda: bus, None)  # type: ignore[arg-type, return-value]


async def test_one_actor_takes_nobodys_place(bus: Bus, marks: Marks):
    for _ in range(MOST_OF_ACTOR // 500):
        await marks.add("mark_delivered", rights("acme", "user:1"), ids(500))
    with pytest.raises(TooManyMarks):
        await marks.add("mark_read", rights("acme", "user:1"), ids(1))
    await marks.add("mark_read", rights("acme", "user:2"), ids(1))
    await marks.add("mark_read", rights("other", "user:1"), ids(1))
    bus.away = False
    assert await marks.flush()
    assert bus.taken == {"acme": MOST_OF_ACTOR + 1, "other": 1}


async def test_one_tenant_takes_no_others_place(marks: Marks):
    for n in range(MOST_OF_TENANT // MOST_OF_ACTOR):
        await marks.add("mark_read", rights("acme", f"user:{n}"), ids(MOST_OF_ACTOR))
    with pytest.raises(TooManyMarks):
        await marks.add("mark_read", rights("acme", "user:new"), ids(1))
    marks.expired("acme", uuid.UUID(int=1), ids(1))
    await marks.add("mark_read", rights("other", "user:1"), ids(1))


async def test_what_was_taken_is_sent_however_often_that_fails(bus: Bus, marks: Marks):
    """Nothing is taken twice either, and there is room again afterwards."""
    mine = ids(500)
    for _ in range(3):
        await marks.add("mark_read", rights("acme", "user:1"), mine)
        assert not await marks.flush()
    await marks.add("mark_read", rights("acme", "user:1"), ids(MOST_OF_ACTOR - 500))
    with pytest.raises(TooManyMarks):
        await marks.add("mark_read", rights("acme", "user:1"), ids(1))
    bus.away = False
    assert await marks.flush()
    assert bus.taken == {"acme": MOST_OF_ACTOR}
    assert not marks._counts
    await marks.add("mark_read", rights("acme", "user:1"), ids(1))


@pytest.mark.parametrize("away", [False, True])
async def test_what_is_under_way_when_the_instance_ends(
    bus: Bus, marks: Marks, monkeypatch: pytest.MonkeyPatch, away: bool
):
    """It is waited for, and what fails is sent again."""
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0)
    bus.away = away
    bus.answers.clear()
    running = asyncio.create_task(marks.run())
    await marks.add("mark_read", rights("acme", "user:1"), ids(3))
    await bus.asked.wait()
    await marks.add("mark_read", rights("acme", "user:1"), ids(2))
    draining = asyncio.create_task(marks.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    bus.asked.clear()
    bus.answers.set()
    await bus.asked.wait()
    bus.away = False
    await draining
    running.cancel()
    assert bus.taken == {"acme": 5}
    assert marks.unsent == 0


async def test_what_an_instance_that_is_cut_off_has_not_sent(bus: Bus, marks: Marks):
    bus.answers.clear()
    await marks.add("mark_read", rights("acme", "user:1"), ids(3))
    draining = asyncio.create_task(marks.drain())
    await bus.asked.wait()
    await marks.add("mark_read", rights("other", "user:1"), ids(2))
    draining.cancel()
    await asyncio.wait({draining})
    assert marks.unsent == 5
