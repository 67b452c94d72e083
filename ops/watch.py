"""The live table of ``rollcall up``: workers, what they hold back, how quick they are."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from rich.console import Console
from rich.live import Live
from rich.table import Table

from contracts.connection import servers
from ops.logging import hide_text
from ops.probe import get

if TYPE_CHECKING:
    from ops.supervisor import Fleet

# What a worker does: whichever of these it counts.
WORK = (
    "rollcall_messages_total",
    "rollcall_published_total",
    "rollcall_queries_total",
    "rollcall_search_documents_total",
    "rollcall_realtime_events_total",
)
LAG = ("rollcall_lag_messages", "rollcall_outbox_rows")


class Seen(NamedTuple):
    at: float
    work: float
    lag: float


def read_samples(text: str, *names: str) -> list[Sample]:
    """The samples of these names from a worker's /metrics."""
    families = text_string_to_metric_families(text)
    return [sample for family in families for sample in family.samples if sample.name in names]


async def watch(fleet: Fleet, page: str | None, console: Console | None = None) -> None:
    """Show the table until cancelled; where there is no terminal, only say once where everything is. ``page`` is the console's address."""
    console = console or Console()
    for line in [*_addresses(fleet), *([f"console {page}"] if page is not None else [])]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.print("ready")
        await asyncio.Event().wait()
    before: dict[str, Seen] = {}
    with Live(console=console, auto_refresh=False) as live:
        while True:
            await fleet.look()
            now = await _scrape(fleet)
            live.update(_table(fleet, before, now), refresh=True)
            before = now
            await asyncio.sleep(1)


def _addresses(fleet: Fleet) -> list[str]:
    """What another terminal needs to reach embedded servers, to be copied; of given ones only where they are."""
    lines = []
    if fleet.stack.nats is not None:
        lines.append(f"export ROLLCALL_NATS_URL={fleet.nats_url}")
        lines.append(f"export ROLLCALL_NATS_MONITOR_URL={fleet.nats_monitor_url}")
    else:
        lines.append(f"NATS {','.join(hide_text(url) for url in servers(fleet.nats_url))}")
    if fleet.stack.postgres is not None:
        lines.append(f"export ROLLCALL_POSTGRES_DSN={fleet.postgres_dsn}")
    else:
        lines.append(f"PostgreSQL {hide_text(fleet.postgres_dsn)}")
    if fleet.stack.elasticsearch is not None:
        lines.append(f"export ELASTICSEARCH_URL={fleet.elasticsearch_url}")
    elif fleet.elasticsearch_url is not None:
        lines.append(
            f"Elasticsearch {','.join(hide_text(url) for url in fleet.elasticsearch_url.split(','))}"
        )
    if fleet.settings.jwt_secret is None and fleet.jwt_secret is not None:
        lines.append(f"export ROLLCALL_JWT_SECRET=$(cat '{fleet.kept_secret}')")
    if fleet.elasticsearch_url is None:
        lines.append("no Elasticsearch: PostgreSQL answers searches")
    if (realtime := fleet.instances.get("realtime/0")) is not None:
        lines.append(f"sockets {realtime.url.replace('http', 'ws', 1)}/ws")
    return [*lines, f"the fleet {fleet.url}/fleet", f"logs in {fleet.stack.data_dir / 'logs'}"]


async def _scrape(fleet: Fleet) -> dict[str, Seen]:
    keys = list(fleet.instances)
    answers = await asyncio.gather(*(get(f"{fleet.instances[key].url}/metrics") for key in keys))
    return {
        key: Seen(
            time.monotonic(),
            sum(sample.value for sample in read_samples(body.decode(), *WORK)),
            sum(sample.value for sample in read_samples(body.decode(), *LAG)),
        )
        for key, (status, body) in zip(keys, answers, strict=True)
        if status == 200
    }


def _table(fleet: Fleet, before: dict[str, Seen], now: dict[str, Seen]) -> Table:
    table = Table(title="rollcall", caption="Ctrl-C ends the fleet")
    for heading in ("worker", "pid", "state", "lag", "per second", "restarts"):
        table.add_column(heading, justify="left" if heading in {"worker", "state"} else "right")
    for key, one in fleet.instances.items():
        seen, past = now.get(key), before.get(key)
        rate = ""
        if seen is not None and past is not None and seen.work >= past.work:
            rate = f"{(seen.work - past.work) / (seen.at - past.at):,.0f}"
        state = "[green]ready[/]" if one.ready else f"[red]{one.why[:60]}[/]"
        lag = f"{seen.lag:,.0f}" if seen is not None else ""
        table.add_row(key, str(one.pid or "-"), state, lag, rate, str(max(0, one.starts - 1)))
    return table
