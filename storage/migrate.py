"""The schema's revisions: bring the database to the newest one, and say which one it has."""

from __future__ import annotations

import functools
import io
import re
from pathlib import Path
from typing import NamedTuple

import asyncpg

from storage import timeline
from storage.postgres import connect
from storage.search import texts

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 0x726F6C6C  # the advisory lock that runners of migrations queue at: "roll"

# What SQL cannot do, by the revision that it follows; the next one waits for it. Begun anew where it was interrupted.
AFTERWARDS = {"0002": texts.fill, "0007": texts.derive_again}

_NAMES = re.compile(r"^(revision|down_revision)\b[^=]*= *[\"'](\w+)[\"']", re.MULTILINE)


class Revision(NamedTuple):
    """Where the database stands; ``current`` is None where nothing was migrated."""

    current: str | None
    head: str

    @property
    def up_to_date(self) -> bool:
        return self.current == self.head


@functools.cache
def head() -> str:
    """The newest revision that this code knows: the one that no other follows.

    Read from the files' text, because every worker asks and only ``rollcall migrate`` needs Alembic loaded.
    """
    named: dict[str, set[str]] = {"revision": set(), "down_revision": set()}
    for path in (MIGRATIONS / "versions").glob("*.py"):
        for kind, name in _NAMES.findall(path.read_text()):
            named[kind].add(name)
    heads = named["revision"] - named["down_revision"]
    if len(heads) != 1:
        raise RuntimeError(f"{MIGRATIONS}: there must be one newest migration, found {sorted(heads)}")
    return heads.pop()


async def revision(connection: asyncpg.Connection) -> Revision:
    """The database's revision, readable by both roles."""
    if await connection.fetchval("select to_regclass('alembic_version')") is None:
        return Revision(None, head())
    return Revision(await connection.fetchval("select version_num from alembic_version"), head())


async def migrate(dsn: str) -> Revision:
    """Upgrade to the newest revision as the DSN's own user, and make the partitions of the coming months.

    Runners started at the same time wait for one another. Answers where the database stood before.
    """
    connection = await connect(dsn, None, "rollcall migrate")
    try:
        await connection.execute("select pg_advisory_lock($1)", LOCK)
        before = await revision(connection)
        at = before.current
        for stop, work in AFTERWARDS.items():
            if (at or "") < stop:
                await connection.execute(script(at, stop))
                at = stop
            if at == stop:
                await work(connection)
        if at != before.head:
            await connection.execute(script(at))
        await timeline.make_partitions(connection, timeline.MONTHS_AHEAD)
        return before
    finally:
        await connection.close()  # and with it the lock


def script(since: str | None, to: str = "head") -> str:
    """The SQL from one revision to another, in a transaction of its own."""
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    written = io.StringIO()
    config = Config(output_buffer=written)
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, f"{since}:{to}" if since else to, sql=True)
    return written.getvalue()
