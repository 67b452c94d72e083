"""``maintain``: the database's chores, once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from ops.cli.messages import AsJson
from ops.cli.output import APPLIED, REJECTED, print_json, run

if TYPE_CHECKING:
    from workers.chores import Done


def maintain(json: AsJson = False) -> None:
    """Do the database's chores once: make partitions, drop old months, delete what has expired.

    The relay does them by schedule; this is for where none runs, or for at once. Of several that start together, one works.

    Exit code: 0 all is done, or somebody else is at it; 1 a chore could not be finished.
    """

    async def work() -> list[Done] | None:
        from ops import reach
        from ops.logging import configure
        from ops.settings import DatabaseSettings, read
        from storage.postgres import WRITER, connect
        from workers import chores

        configure("error")  # what goes wrong is said in a line of ours
        settings = read(DatabaseSettings)
        with reach.database():
            connection = await connect(settings.postgres_dsn, WRITER, "rollcall maintain", timeout=5)
        try:
            return await chores.run(connection, settings)
        finally:
            await connection.close()

    done = run(work())
    problems = [f"{each.chore.name}: {each.problem}" for each in done or () if each.problem]
    if json:
        counts = {each.chore.counts.replace(" ", "_"): each.count for each in done or ()}
        print_json({"ran": done is not None, **counts, "problems": problems})
    elif done is None:
        typer.echo("somebody else is at it; nothing was done")
    else:
        for each in done:
            typer.echo(f"{each.count:>9,} {each.chore.counts}")
        for problem in problems:
            sys.stderr.write(f"rollcall: {problem}; the rest is done at the next run\n")
    raise typer.Exit(REJECTED if problems else APPLIED)
