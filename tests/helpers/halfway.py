"""A rebuild's progress, for a test that does something in the middle of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from storage.search import rebuild
from storage.search.elastic.documents import Document


class Halfway:
    """``reached`` is set when half of the contacts are written; the rebuild goes on meanwhile, unless it is held."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._goes_on = asyncio.Event()
        self.told: list[tuple[str, int, int]] = []

    def __call__(self, step: str, done: int, total: int) -> None:
        self.told.append((step, done, total))
        if step == "filling" and 0 < done >= total // 2:
            self.reached.set()

    def hold(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Rebuilds write nothing further from there on, until ``go_on``."""
        write = rebuild._Rebuild._write

        async def held(work: rebuild._Rebuild, index: str, chunk: Sequence[Document]) -> None:
            if self.reached.is_set():
                await self._goes_on.wait()
            await write(work, index, chunk)

        monkeypatch.setattr(rebuild._Rebuild, "_write", held)

    def go_on(self) -> None:
        self._goes_on.set()
