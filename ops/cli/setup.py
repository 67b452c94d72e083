"""``migrate``, ``streams``, ``doctor``: what must be there before a worker runs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ops.cli.output import APPLIED, REJECTED, Failure, print_json, run


class StreamsAction(StrEnum):
    declare = "declare"
    adopt = "adopt"


def migrate() -> None:
    """Create or upgrade the tables in the database.

    Of several at once, one works and the others wait.
    """

    async def work() -> None:
        from ops.settings import DatabaseSettings, read
        from storage.migrate import migrate as bring

        before = await bring(read(DatabaseSettings).postgres_dsn)
        if before.up_to_date:
            typer.echo(f"at revision {before.head}, nothing to do")
        else:
            typer.echo(f"migrated from {before.current or 'nothing'} to {before.head}")

    run(work())


def streams(
    action: Annotated[
        StreamsAction,
        typer.Argument(help="declare, or adopt."),
    ] = StreamsAction.declare,
    replicas: Annotated[
        int, typer.Option(min=1, max=5, help="Copies in the cluster, of streams that are made now.")
    ] = 1,
    at_end: Annotated[
        bool, typer.Option("--at-end", help="Adopt from the end: what is in the stream now is never applied.")
    ] = False,
) -> None:
    """Make the streams on NATS, or mend them; `adopt` after a stream was made anew.

    declare: make what is missing, mend what differs; no message is touched.

    adopt: when workers say that a stream was made anew, go on with it from its beginning.
    """

    async def work() -> list[str]:
        from ops import reach
        from ops.settings import BusSettings, DatabaseSettings, read
        from workers import streams as declared
        from workers.jetstream import Refused

        bus = read(BusSettings)
        dsn = "" if action is StreamsAction.declare else read(DatabaseSettings).postgres_dsn
        client = await reach.bus(bus.nats_url)
        try:
            if action is StreamsAction.declare:
                return await declared.declare(client, replicas)
            return await declared.adopt(client, dsn, at_end=at_end)
        except (declared.StreamsError, Refused) as error:
            raise Failure(str(error), REJECTED) from None
        finally:
            await client.close()

    for line in run(work()):
        typer.echo(line)


def doctor(json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> None:
    """Look at servers, roles, tables and streams; say what is wrong and how to mend it.

    Exit code: 0 nothing is wrong, 1 something is.
    """
    from ops.doctor import examine, table

    findings = run(examine())
    well = not any(found.ok is False for found in findings)
    if json:
        print_json({"ok": well, "findings": [found._asdict() for found in findings]})
    else:
        from rich.console import Console

        Console().print(table(findings))
    raise typer.Exit(APPLIED if well else REJECTED)
