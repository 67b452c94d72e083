"""The command ``rollcall``."""

from __future__ import annotations

import sys
from typing import Any

import typer

from ops.cli import (
    dead_letters,
    fleet,
    maintenance,
    messages,
    project,
    realtime,
    search,
    setup,
    timeline,
)
from ops.cli.output import WRONG_USAGE, Failure

# The base of everything that typer raises about arguments, in each of its versions.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


class Rollcall(typer.Typer):
    """The app with our exit codes: typer would leave with 2 on wrong usage, which here means "dead"."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            code = super().__call__(*args, standalone_mode=False, **kwargs)
        except Failure as failure:
            sys.stderr.write(f"rollcall: {failure}\n")
            code = failure.code
        except UsageError as error:
            context = getattr(error, "ctx", None)
            sys.stderr.write(f"rollcall: {_sentence(error)} (see `{_path(context)} --help`)\n")
            code = WRONG_USAGE
        except typer.Abort:
            code = 130
        sys.exit(code if isinstance(code, int) else 0)


def _sentence(error: Exception) -> str:
    formatted = getattr(error, "format_message", error.__str__)()
    return str(formatted).strip().rstrip(".").replace("\n", " ")


def _path(context: Any) -> str:
    return str(context.command_path) if context is not None else "rollcall"


app = Rollcall(
    name="rollcall",
    help="Rollcall: a contact core run as a fleet of workers.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        sys.stderr.write(f"{context.get_help()}\n")
        raise typer.Exit(WRONG_USAGE)


app.command()(fleet.up)
app.command()(fleet.worker)
app.command()(fleet.demo)
app.command()(setup.migrate)
app.command()(setup.streams)
app.command()(setup.doctor)
app.command()(maintenance.maintain)
app.command()(messages.send)
app.command()(messages.query)
app.command()(realtime.token)
app.add_typer(dead_letters.app, name="dlq")
app.add_typer(search.app, name="search")
app.add_typer(timeline.app, name="timeline")
app.command(context_settings=project.PASS_ON)(project.bench)
app.command()(project.docs)

if __name__ == "__main__":
    app()
