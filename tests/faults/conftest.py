"""One stage for all faults: servers of its own, and a crew that each fault finds complete."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.faults.stage import CREW, Stage


@pytest.fixture(scope="session")
async def whole_stage() -> AsyncIterator[Stage]:
    async with Stage.open() as stage:
        yield stage


@pytest.fixture
async def stage(whole_stage: Stage) -> AsyncIterator[Stage]:
    """The stage with one ready instance of each worker. A fault that went badly leaves none to the next."""
    await whole_stage.crew.ensure(*CREW)
    whole_stage.judged = False
    yield whole_stage
    if not whole_stage.judged:
        whole_stage.crew.end()
