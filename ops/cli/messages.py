"""``send``, ``query``: one message, one answer."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import orjson
import typer

from ops.cli.output import (
    APPLIED,
    DEAD,
    REJECTED,
    TIMED_OUT,
    Failure,
    print_json,
    read_data,
    read_object,
    run,
)

if TYPE_CHECKING:
    from contracts.client import Client
    from contracts.results import Result

Tenant = Annotated[str, typer.Option(help="Whose contact it is about.", show_default=False)]
Data = Annotated[str, typer.Option(help="JSON, @file, or - for stdin.", show_default=False)]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the answer.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as one line of JSON.")]

T = TypeVar("T")

CODES = {"applied": APPLIED, "duplicate": APPLIED, "rejected": REJECTED, "dead": DEAD}


def send(
    type: Annotated[str, typer.Argument(metavar="TYPE", help="contact.create, webhook.whatsapp, …")],
    tenant: Tenant,
    data: Data,
    key: Annotated[
        str | None,
        typer.Option(
            help="Messages of one key stay in order; default: what the command names.", show_default=False
        ),
    ] = None,
    id: Annotated[
        str | None, typer.Option(help="The message's id; default: a new one.", show_default=False)
    ] = None,
    actor: Annotated[
        str | None, typer.Option(help="Who does it: user:42, service:shop, …", show_default=False)
    ] = None,
    timeout: Timeout = 5.0,
    json: AsJson = False,
) -> None:
    """Send a command or a webhook, and wait for what became of it.

    For example: rollcall send contact.create --tenant acme --data '{"email": "ann@example.com"}'

    Exit code: 0 applied or duplicate, 1 rejected, 2 dead, 3 time-out, 64 wrong usage.
    """
    type = type.removeprefix("command.")  # noqa: A001
    _check_type(type)
    body: Any = _webhook_body(read_data(data)) if type.startswith("webhook.") else read_object(data)

    async def work() -> Result:
        client = await _connect()
        try:
            if type.startswith("webhook."):
                return await client.webhook(
                    type.removeprefix("webhook."), tenant, key or "-", body, id=id, timeout=timeout
                )
            return await client.send(type, tenant, body, key=key, actor=actor, timeout=timeout, id=id)
        except TimeoutError:
            raise Failure(
                f"no result within {timeout:g} s; the message may still be applied (do the inbox or contacts worker, and the relay, run?)",
                TIMED_OUT,
            ) from None
        finally:
            await client.close()

    report(run(_refusable(work())), json=json)


def report(result: Result, *, json: bool) -> NoReturn:
    """Print what became of a message and leave with its exit code."""
    answer = result.model_dump(mode="json", exclude_none=True)
    if json:
        print_json(answer)
    else:
        typer.echo(_summary(answer))
    raise typer.Exit(CODES[result.status])


def query(
    name: Annotated[str, typer.Argument(metavar="NAME", help="contact.get, contact.find, contact.list, …")],
    tenant: Tenant,
    data: Data = "{}",
    timeout: Timeout = 5.0,
    json: AsJson = False,
) -> None:
    """Ask a query and print the answer.

    For example: rollcall query contact.find --tenant acme --data '{"channel": "email", "identifier": "ann@example.com"}'

    Exit code: 0 answered, 1 not found or refused, 3 time-out, 64 wrong usage.
    """
    from contracts.registry import QUERIES

    name = name.removeprefix("query.")
    if name not in QUERIES:
        raise typer.BadParameter(f"no query {name!r}; there are {', '.join(QUERIES)}", param_hint="NAME")
    fields = read_object(data)

    async def work() -> Any:
        client = await _connect()
        try:
            return await client.query(name, tenant, fields, timeout=timeout)
        except TimeoutError:
            raise Failure(
                f"no answer within {timeout:g} s (is the queries worker running?)", TIMED_OUT
            ) from None
        finally:
            await client.close()

    answer = run(_refusable(work()))
    print_json(answer.model_dump(mode="json", exclude_unset=True), indent=not json)
    raise typer.Exit(APPLIED if answer.success else REJECTED)


async def _connect() -> Client:
    from contracts.client import Client
    from ops import reach
    from ops.settings import BusSettings, read

    url = read(BusSettings).nats_url
    try:
        with reach.bus_errors():
            return await Client.connect(url, source="rollcall-cli")
    except reach.Unreachable as error:
        raise Failure(str(error), TIMED_OUT) from None


async def _refusable(work: Coroutine[Any, Any, T]) -> T:
    """A tenant or key that no subject can hold is the caller's to mend."""
    from contracts.subjects import SubjectError

    try:
        return await work
    except SubjectError as error:
        raise typer.BadParameter(str(error), param_hint="--tenant or --key") from None


def _check_type(name: str) -> None:
    from contracts.registry import COMMANDS, PROVIDERS

    known = [*COMMANDS, *(f"webhook.{provider}" for provider in PROVIDERS)]
    if name not in known:
        raise typer.BadParameter(f"no type {name!r}; there are {', '.join(known)}", param_hint="TYPE")


def _webhook_body(text: bytes) -> Any:
    """JSON, or else a form as the provider sent it."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        stripped = text.strip()
        if stripped.startswith((b"{", b"[")) or b"=" not in stripped:
            raise typer.BadParameter(
                f"neither valid JSON ({error}) nor a form; give a body, @file, or - for stdin",
                param_hint="--data",
            ) from None
        try:
            return stripped.decode()
        except UnicodeDecodeError:
            raise typer.BadParameter("the form is not UTF-8", param_hint="--data") from None


def _summary(answer: dict[str, Any]) -> str:
    """One line for a person: "rejected identifier_taken: …", "applied contact 0190… version 1 (created)"."""
    words = [answer["status"]]
    first = answer.get("first") or {}
    about = first if answer["status"] == "duplicate" else answer
    if first:
        words.append(f"(first: {first.get('status')})")
    if about.get("contact_id"):
        words.append(f"contact {about['contact_id']}")
    if about.get("version") is not None:
        words.append(f"version {about['version']}")
    if about.get("created"):
        words.append("(created)")
    errors = (answer.get("details") or {}).get("errors", ())
    if about.get("code"):  # the message names every error, one after the other
        words.append(
            f"{about['code']}: {about.get('message', '') if len(errors) < 2 else f'{len(errors)} fields'}"
        )
    lines = [" ".join(words)]
    lines += [f"  {_item(n, item)}" for n, item in enumerate(answer.get("items") or ())]
    if len(errors) > 1:
        lines += [f"  {error.get('field')}: {error.get('message')}" for error in errors]
    return "\n".join(lines)


def _item(n: int, item: dict[str, Any]) -> str:
    """Of a webhook by its dedupe key, of a command of many by its place."""
    about = f"{item.get('dedupe_key') or f'events.{n}'} {item.get('status')}"
    return (
        f"{about} {item['code']}: {item['message']}"
        if "code" in item
        else f"{about} contact {item.get('contact_id')}"
    )
