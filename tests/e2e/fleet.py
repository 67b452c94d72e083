"""A fleet as a user runs it, and commands against it."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from typing import Any

import orjson

from ops.devstack.process import die_with_parent
from ops.supervisor import command
from tests.helpers.forked import CLEAN, Ran, rollcall


@dataclass
class Running:
    process: asyncio.subprocess.Process
    line: dict[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        return {
            **CLEAN,
            "ROLLCALL_NATS_URL": self.line["nats_url"],
            "ROLLCALL_NATS_MONITOR_URL": self.line["nats_monitor_url"] or "",
            "ROLLCALL_POSTGRES_DSN": self.line["postgres_dsn"],
        }

    async def rollcall(self, *arguments: str, stdin: bytes = b"", **variables: str) -> Ran:
        return await rollcall(*arguments, stdin=stdin, environment={**self.environment, **variables})

    async def end(self) -> int:
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), 90)


async def up(*arguments: str, **variables: str) -> Running:
    """Start ``rollcall up --json`` and wait for its line."""
    process = await asyncio.create_subprocess_exec(
        *command("up", "--json", *arguments),
        stdout=asyncio.subprocess.PIPE,
        env={**CLEAN, **variables},
        preexec_fn=die_with_parent(os.getpid(), signal.SIGTERM),
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 180)
    assert line, "the fleet did not start; what it said is on stderr"
    return Running(process, orjson.loads(line))
