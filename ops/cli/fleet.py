"""``up``, ``worker``, ``demo``: what runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def up(
    ephemeral: Annotated[
        bool, typer.Option("--ephemeral", help="Keep the data in a throw-away directory.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep the data here; default: ~/.local/share/rollcall.", show_default=False
        ),
    ] = None,
    scale: Annotated[
        str,
        typer.Option(
            metavar="NAME=N,…",
            help="Instances of a worker: inbox=2,contacts=2; default: one of each.",
            show_default=False,
        ),
    ] = "",
    elasticsearch: Annotated[
        bool,
        typer.Option("--elasticsearch", help="Start an Elasticsearch too; Java and Maven are needed."),
    ] = False,
    tenant: Annotated[
        str, typer.Option(help="Whose timelines the console shows; its address is printed, not with --json.")
    ] = "acme",
    json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON when all is ready, no table.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Write the workers' logs to stderr, not to files.")
    ] = False,
) -> None:
    """Run the whole fleet: servers and workers, until Ctrl-C.

    It uses the servers of ROLLCALL_NATS_URL and ROLLCALL_POSTGRES_DSN; where one is not set it starts its own.

    It uses the Elasticsearch of ELASTICSEARCH_URL, or starts one with --elasticsearch; without one PostgreSQL answers searches.

    It also migrates the database and declares the streams. SIGINT (Ctrl-C) and SIGTERM end all that it started.
    """
    from ops.cli.output import WRONG_USAGE, Failure, check_tenant, hush
    from ops.settings import SettingsError
    from ops.supervisor import run
    from workers.fleet import FLEET

    if ephemeral and data is not None:
        raise typer.BadParameter("give either --ephemeral or --data", param_hint="--data")
    check_tenant(tenant)
    given = bool(os.environ.get("ELASTICSEARCH_URL"))
    if elasticsearch and given:
        raise typer.BadParameter(
            "ELASTICSEARCH_URL is set, and that one is used; unset it to start another",
            param_hint="--elasticsearch",
        )
    possible = [
        name for name, kind in FLEET.items() if elasticsearch or given or not kind.needs_elasticsearch
    ]
    counts = dict.fromkeys(possible, 1)
    for part in filter(None, scale.split(",")):
        name, _, number = part.partition("=")
        if name not in FLEET:
            raise typer.BadParameter(
                f"no worker {name!r}; there are {', '.join(FLEET)}", param_hint="--scale"
            )
        if not number.isdigit() or not 0 <= int(number) <= 64:
            raise typer.BadParameter(f"{part!r} is not NAME=0…64", param_hint="--scale")
        if name not in possible:
            raise typer.BadParameter(
                f"{name} needs Elasticsearch: set ELASTICSEARCH_URL, or give --elasticsearch",
                param_hint="--scale",
            )
        counts[name] = int(number)
    hush()
    try:
        code = run(
            counts,
            data_dir=data,
            ephemeral=ephemeral,
            with_elasticsearch=elasticsearch,
            as_json=json,
            tenant=tenant,
            verbose=verbose,
        )
    except SettingsError as error:
        raise Failure(str(error), WRONG_USAGE) from None
    raise typer.Exit(code)


def worker(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="inbox, contacts, relay, queries, indexer or realtime.")
    ],
) -> None:
    """Run one worker in the foreground, as a container does.

    It needs ROLLCALL_NATS_URL and ROLLCALL_POSTGRES_DSN, the indexer ELASTICSEARCH_URL too; docs/settings.md has every setting.
    """
    from ops.cli.output import WRONG_USAGE, Failure
    from ops.settings import SettingsError, load
    from workers.fleet import FLEET

    if name not in FLEET:
        raise typer.BadParameter(f"no worker {name!r}; there are {', '.join(FLEET)}", param_hint="NAME")
    settings = load()
    if FLEET[name].needs_elasticsearch and settings.elasticsearch_url is None:
        raise Failure(
            f"ELASTICSEARCH_URL: is not set, and the {name} has nothing to do without; set it to http://host:9200",
            WRONG_USAGE,
        )
    import uvloop

    from workers.host import run

    try:
        code = uvloop.run(run(FLEET[name], settings))
    except SettingsError as error:
        raise Failure(str(error), WRONG_USAGE) from None
    raise typer.Exit(code)


def demo() -> None:
    """Run a fleet for a moment on sample messages, and show what came of them."""
    from ops.demo import main

    raise typer.Exit(main())
