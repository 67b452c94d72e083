"""``dlq``: the dead letters, a second chance for them, and their end."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.messages import AsJson, Timeout, report
from ops.cli.output import REJECTED, TIMED_OUT, Failure, one_of, print_json, run

if TYPE_CHECKING:
    import asyncpg

    from contracts.results import Result
    from storage.dead_letters import DeadLetter

app = typer.Typer(help="The dead letters: list, show, replay, delete.")

Tenant = Annotated[
    str | None,
    typer.Option(help="Only those of one tenant; -: those whose subject names none.", show_default=False),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="The dead letter's id.")]


@app.command("list")
def list_(
    tenant: Tenant = None,
    stream: Annotated[
        str | None,
        typer.Option(help="Only those of a stream: WEBHOOK, COMMAND or EVENTS.", show_default=False),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Only those with a reason: not_json, unstorable, …", show_default=False)
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many, the newest.", show_default="all")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print an object a line.")] = False,
) -> None:
    """List dead letters, newest first."""
    from contracts.subjects import DEADLETTER, STREAMS
    from contracts.vocabulary import DeadLetterReason

    stream = one_of(stream, (name for name in STREAMS if name != DEADLETTER.name), "--stream")
    reason = one_of(reason, DeadLetterReason, "--reason")

    async def work() -> int:
        from storage.dead_letters import listed

        connection = await _database()
        count = 0
        try:
            async for letter in listed(connection, tenant=tenant, stream=stream, reason=reason, limit=limit):
                count += 1
                if json:
                    print_json(_brief(letter))
                else:
                    typer.echo(_lines(letter))
        finally:
            await connection.close()
        return count

    count = run(work())
    if not json:
        typer.echo(f"{count} dead letter{'' if count == 1 else 's'}")


@app.command()
def show(id: Id, json: AsJson = False) -> None:
    """Show one dead letter with its headers and body."""
    letter = run(_letter(_id(id)))
    try:
        body, encoding = letter.body.decode(), "utf-8"
    except UnicodeDecodeError:
        body, encoding = letter.body.hex(), "hex"
    whole = {
        **_brief(letter),
        "partition": letter.partition,
        "headers": letter.headers,
        "body_encoding": encoding,
        "body": body,
        "created_at": letter.created_at,
        "replayed_at": letter.replayed_at,
    }
    print_json(whole, indent=not json)


@app.command()
def replay(id: Id, timeout: Timeout = 5.0, json: AsJson = False) -> None:
    """Publish the original again, under its own id, and wait for what becomes of it.

    Exit code: 0 applied or duplicate, 1 rejected or not found, 2 dead again, 3 time-out.
    """

    async def work() -> Result:
        from ops.replay import NotReplayable
        from ops.replay import replay as again

        letter = await _letter(_id(id))
        connection = await _database()
        try:
            return await again(connection, letter, await _nats_url(), timeout)
        except NotReplayable as error:
            raise Failure(str(error), REJECTED) from None
        except TimeoutError:
            raise Failure(f"published again, but no result within {timeout:g} s", TIMED_OUT) from None
        finally:
            await connection.close()

    report(run(work()), json=json)


@app.command()
def delete(
    before: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="Those that died before, such as 2026-01-31T00:00:00Z.", show_default=False
        ),
    ],
    tenant: Tenant = None,
    json: AsJson = False,
) -> None:
    """Delete old dead letters for good: they can no longer be shown or replayed."""
    from contracts.moments import moment

    try:
        until = moment(before)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--before") from None

    async def work() -> int:
        from storage.dead_letters import delete as remove

        connection = await _database()
        try:
            return await remove(connection, until, tenant)
        finally:
            await connection.close()

    gone = run(work())
    if json:
        print_json({"deleted": gone})
    else:
        typer.echo(f"{gone} dead letter{'' if gone == 1 else 's'} deleted")


async def _database() -> asyncpg.Connection:
    from ops import reach
    from ops.settings import DatabaseSettings, read
    from storage.postgres import WRITER, connect

    dsn = read(DatabaseSettings).postgres_dsn
    with reach.database():
        return await connect(dsn, WRITER, "rollcall dlq", timeout=5)


async def _nats_url() -> str:
    from ops.settings import BusSettings, read

    return read(BusSettings).nats_url


async def _letter(id: uuid.UUID) -> DeadLetter:
    from storage.dead_letters import show as find

    connection = await _database()
    try:
        letter = await find(connection, id)
    finally:
        await connection.close()
    if letter is None:
        raise Failure(f"no dead letter {id}; `rollcall dlq list` names them", REJECTED)
    return letter


def _id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a UUID; `rollcall dlq list` names them", param_hint="ID"
        ) from None


def _lines(letter: DeadLetter) -> str:
    times = "" if letter.count == 1 else f" ({letter.count} times)"
    return (
        f"{letter.id}  {letter.broker_time:%Y-%m-%d %H:%M:%S}  {letter.reason}{times}\n"
        f"    {letter.stream} {letter.position}: {letter.subject}\n    {letter.detail}"
    )


def _brief(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "stream": letter.stream,
        "tenant": letter.tenant,
        "subject": letter.subject,
        "position": letter.position,
        "reason": letter.reason,
        "detail": letter.detail,
        "count": letter.count,
        "time": letter.broker_time,
    }
