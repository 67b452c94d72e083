"""``bench``, ``docs``: for whoever works on Rollcall itself."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.cli.output import WRONG_USAGE

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def bench(context: typer.Context) -> None:
    """Measure throughput, latency and memory; for work on Rollcall itself."""
    from ops.bench.main import main

    try:
        raise typer.Exit(main(context.args))
    except SystemExit as left:  # argparse's way out: 2 on wrong usage, 0 after --help
        raise typer.Exit(WRONG_USAGE if left.code else 0) from None


def docs(
    check: Annotated[bool, typer.Option("--check", help="Only say what is out of date.")] = False,
) -> None:
    """Write the generated pages below docs/; for work on Rollcall itself."""
    from ops.cli.docs import main

    raise typer.Exit(main(check=check))
