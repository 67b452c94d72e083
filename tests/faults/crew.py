"""Worker processes under the test's own hand: started, killed, stopped and continued by pid."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from ops.devstack.process import free_port, spawn
from tests.eventually import eventually
from tests.helpers.forked import ROOT, Forked
from tests.helpers.http import plain

READY_WITHIN = 60
EXIT_WITHIN = 40


@dataclass
class Process:
    """One worker process."""

    name: str
    label: str
    http: str
    log: Path
    popen: Forked | subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def exit_code(self) -> int | None:
        return self.popen.poll()

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    async def readiness(self) -> tuple[int, str]:
        """Status code and text of /readyz; 0 where nothing answers."""
        try:
            async with plain(timeout=10) as client:
                answer = await client.get(f"{self.http}/readyz")
        except httpx.HTTPError as error:
            return 0, repr(error)
        return answer.status_code, answer.text

    async def metrics(self) -> str:
        async with plain(timeout=10) as client:
            return (await client.get(f"{self.http}/metrics")).text

    async def until_ready(self) -> None:
        async def ready() -> bool:
            assert self.exit_code is None, f"{self.label} ended with {self.exit_code}: {self.tail()}"
            code, text = await self.readiness()
            assert code == 200, f"{self.label}: {code} {text}"
            return True

        await eventually(ready, timeout=READY_WITHIN, interval=0.05, what=f"{self.label} is ready")

    async def until_dead(self, timeout: float = EXIT_WITHIN) -> int:
        """The exit code; negative where a signal ended it."""
        await eventually(
            lambda: self.exit_code is not None, timeout=timeout, what=f"{self.label} ends; {self.tail()}"
        )
        assert self.exit_code is not None
        return self.exit_code

    def tail(self, size: int = 3000) -> str:
        return self.log.read_bytes()[-size:].decode(errors="replace")


class Crew:
    """The workers of one stage, which log to files in ``logs``. ``environment`` is every worker's; ``start`` may add to it."""

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self.environment = dict(environment)
        self.processes: list[Process] = []
        self._logs = logs
        logs.mkdir(exist_ok=True)
        self._started = 0

    async def start(
        self, name: str, *, wait: bool = True, command: list[str] | None = None, **environment: str
    ) -> Process:
        """Start a worker, and wait until it is ready. ``command`` replaces the command line."""
        self._started += 1
        label = f"{name}-{self._started}"
        port = environment.get("ROLLCALL_HTTP_PORT") or str(free_port())
        log = self._logs / f"{label}.log"
        variables = {
            **self.environment,
            "ROLLCALL_HTTP_PORT": port,
            "ROLLCALL_INSTANCE": label,
            **environment,
        }
        popen: Forked | subprocess.Popen[bytes]
        if command is None:
            popen = Forked(["worker", name], variables, log)
        else:
            popen = spawn(command, log=log, environment=variables, cwd=str(ROOT))
        process = Process(name, label, f"http://127.0.0.1:{port}", log, popen)
        self.processes.append(process)
        if wait:
            await process.until_ready()
        return process

    def alive(self, name: str) -> list[Process]:
        return [p for p in self.processes if p.name == name and p.exit_code is None]

    async def dismiss(self, *processes: Process) -> list[int]:
        """SIGTERM, and the exit codes."""
        for process in processes:
            if process.exit_code is None:
                process.signal(signal.SIGCONT)
                process.signal(signal.SIGTERM)
        return [await process.until_dead() for process in processes]

    async def ensure(self, *names: str) -> None:
        """Exactly one running, ready instance of each worker, and no stopped ones."""
        for name in names:
            alive = self.alive(name)
            await self.dismiss(*alive[1:])
            if not alive:
                await self.start(name, wait=False)
        await asyncio.gather(*(self.alive(name)[0].until_ready() for name in names))

    def end(self) -> None:
        for process in self.processes:
            if process.exit_code is None:
                process.popen.kill()
            process.popen.wait(10)
