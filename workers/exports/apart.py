"""A PDF for a process that has other things to do: laying out takes a core for a while, and memory that stays taken.

The child reads the database itself, by the settings of its parent's environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Final, Literal

import orjson

PIECE: Final = 1 << 16  # bytes
AT_ONCE: Final = 2  # children; whoever comes next waits


class Failed(Exception):
    """The child has ended without a whole file."""


class Apart:
    """Exports in children, a few at a time."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(AT_ONCE)

    async def pieces(
        self, tenant: str, contact_id: uuid.UUID, visible_to: Literal["client", "agent"] | None
    ) -> AsyncIterator[bytes]:
        """The file, in pieces. Raises Failed; closing the iterator ends the child."""
        wanted = {"tenant": tenant, "contact_id": contact_id, "format": "pdf", "visible_to": visible_to}
        async with self._free:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "workers.exports",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            assert child.stdin is not None
            assert child.stdout is not None
            try:
                child.stdin.write(orjson.dumps(wanted))
                child.stdin.close()
                while piece := await child.stdout.read(PIECE):
                    yield piece
                if await child.wait() != 0:
                    raise Failed
            finally:
                if child.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        child.kill()
                    await child.wait()
