"""One export in a process of its own: what is wanted as JSON on stdin, the file on stdout, on stderr a line why there is none.

See ``apart.py``.
"""

from __future__ import annotations

import asyncio
import sys
import uuid

import orjson

from ops.settings import DatabaseSettings, read
from storage.postgres import READER, engine
from storage.reads.session import Reads
from workers.exports.export import export


async def main() -> None:
    wanted = orjson.loads(sys.stdin.buffer.read())
    reading = engine(read(DatabaseSettings).postgres_dsn, READER, "rollcall export", size=1)
    try:
        pieces = await export(
            Reads(reading),
            wanted["tenant"],
            uuid.UUID(wanted["contact_id"]),
            wanted["format"],
            wanted["visible_to"],
        )
        async for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    finally:
        await reading.dispose()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except Exception as failure:  # noqa: BLE001 - whatever it is, its first line is what the parent logs
        sys.exit(f"{type(failure).__name__}: {failure}".splitlines()[0])
