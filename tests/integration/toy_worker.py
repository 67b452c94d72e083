"""A process that hosts a toy service: ``python -m tests.integration.toy_worker MODE``."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from ops.health import Degraded
from ops.logging import get_logger
from ops.settings import load
from workers.fleet import Worker
from workers.host import run
from workers.service import Runtime

log = get_logger("toy")


class Toy:
    """Works until stopped; its mode says how it fails."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._stop = asyncio.Event()

    async def run(self) -> None:
        if self._mode == "crash":
            raise RuntimeError("the toy broke: postgresql://toy:hunter2@db/toys")
        if self._mode == "return":
            return
        log.info("working")
        await self._stop.wait()
        if self._mode == "stuck":
            await asyncio.Event().wait()
        log.info("batch finished")

    async def stop(self) -> None:
        if self._mode == "stop_fails":
            raise RuntimeError("the toy cannot stop")
        self._stop.set()

    def problems(self) -> list[str]:
        return {"unready": ["the toy stands still"], "degraded": [Degraded("one wheel is off")]}.get(
            self._mode, []
        )


def build(_runtime: Runtime) -> Toy:
    if sys.argv[1] == "unbuildable":
        raise RuntimeError("no such toy")
    return Toy(sys.argv[1])


if __name__ == "__main__":
    raise SystemExit(uvloop.run(run(Worker("toy", "a toy", "nothing", build), load())))
