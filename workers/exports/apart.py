"""A PDF for a process that serves others: laying out takes a core for a while, and memory that stays taken, so a child does it.

The child (``__main__.py``) reads the database itself, by the settings of its parent's environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Final

import orjson

from contracts.vocabulary import Audience

PIECE: Final = 1 << 16  # bytes
AT_ONCE: Final = 2  # children; whoever comes next waits
LAST_WORDS: Final = 1_000  # bytes of what the child says last that are kept


class Failed(Exception):
    """The child has ended without a whole file; the message is its exit code and the last line of its stderr."""


class Apart:
    """Exports in children, a few at a time."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(AT_ONCE)

    async def pieces(
        self, tenant: str, contact_id: uuid.UUID, visible_to: Audience | None
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
                stderr=asyncio.subprocess.PIPE,
            )
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stderr is not None
            said = asyncio.create_task(_last_line(child.stderr))
            try:
                child.stdin.write(orjson.dumps(wanted))
                child.stdin.close()
                while piece := await child.stdout.read(PIECE):
                    yield piece
                if code := await child.wait():
                    raise Failed(f"exit code {code}: {await said}")
            finally:
                if child.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        child.kill()
                    await child.wait()
                said.cancel()


async def _last_line(stderr: asyncio.StreamReader) -> str:
    """Read to the end, so that the child never waits for a reader."""
    end = b""
    while piece := await stderr.read(PIECE):
        end = (end + piece)[-LAST_WORDS:]
    lines = end.decode(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")
