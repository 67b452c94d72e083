"""Bringing a client up to date while what it is read from comes and goes."""

from __future__ import annotations

from typing import Any, cast

import pytest

from storage.errors import ReadTimeout, Unavailable
from workers.realtime.catch_up import CatchUp


async def test_it_waits_for_a_database_that_cannot_answer():
    outcomes: list[Any] = [Unavailable(), ReadTimeout(), "found"]

    async def step() -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return str(outcome)

    nothing = cast("Any", None)
    catch_up = CatchUp(nothing, nothing, nothing, nothing, nothing)
    assert await catch_up._patiently(step) == "found"


async def test_what_waiting_does_not_mend_is_not_waited_for():
    async def step() -> str:
        raise KeyError

    nothing = cast("Any", None)
    with pytest.raises(KeyError):
        await CatchUp(nothing, nothing, nothing, nothing, nothing)._patiently(step)
