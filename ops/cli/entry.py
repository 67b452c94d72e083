"""What the command ``rollcall`` runs. The base install has the contracts alone, and no command line."""

from __future__ import annotations

import sys


def app() -> None:
    try:
        from ops.cli import main
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        sys.stderr.write(
            "rollcall: the base install has no command line; pip install '.[workers]' in a checkout\n"
        )
        sys.exit(64)  # WRONG_USAGE, whose module needs typer too
    main.app()
