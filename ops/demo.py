"""``make demo``: a whole fleet for a moment, fed with the sample traffic, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import html
import os
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import asyncpg
import nats
import orjson
from nats.aio.client import Client as Nats
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from contracts.client import Client
from ops.probe import get
from ops.samples import SHOWN, TENANTS, Sample, traffic
from ops.supervisor import END_WITHIN, READY_WITHIN, command
from ops.watch import read_samples
from storage.dead_letters import listed
from storage.postgres import connect

SETTLED_WITHIN = 60.0
IN_FLIGHT = 256  # publishes that wait for the broker's acknowledgement
HEADERS = {"Content-Type": "application/cloudevents+json"}
# Without the accent; with a typing error; as one would dial it.
SEARCHES = ("garcia", "Lovelcae", "0151 123-00000")


class Fleet(NamedTuple):
    """The line of ``rollcall up --json``."""

    nats_url: str
    nats_monitor_url: str
    postgres_dsn: str
    http: dict[str, str]
    pids: dict[str, int]


def main() -> int:
    """Answers the exit code; leaves nothing running."""
    return asyncio.run(_main(Console()))


async def _main(console: Console) -> int:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        began = time.monotonic()
        starting = console.status("starting PostgreSQL, nats-server and the workers …")
        starting.start()
        async with fleet() as running:
            starting.stop()
            console.print(
                f"[bold]{len(running.pids)} workers[/] ({', '.join(running.pids)}) on an embedded PostgreSQL and "
                f"nats-server, ready after {time.monotonic() - began:.1f} s"
            )
            await _show(console, running)
    except asyncio.CancelledError:
        return 130
    except (RuntimeError, TimeoutError) as error:
        console.print(f"[red]{error}[/]")
        return 1
    console.print(
        "[dim]Everything has been ended and removed. `.venv/bin/rollcall up` runs a fleet that stays.[/]"
    )
    return 0


async def _show(console: Console, fleet: Fleet) -> None:
    samples = traffic()
    bus = await nats.connect(fleet.nats_url)
    database = await connect(fleet.postgres_dsn, None, "rollcall demo")
    client = await Client.connect(fleet.nats_url, source="rollcall-demo")
    try:
        began = time.monotonic()
        await _publish(bus, samples)
        published = time.monotonic() - began
        outcomes = await _settled(fleet, database, len(samples))
        took = time.monotonic() - began
        _print_traffic(console, samples, outcomes)
        await _print_contacts(console, database)
        await _print_timeline(console, client)
        await _print_search(console, client)
        await _print_events(console, bus)
        await _print_dead_letters(console, database)
        console.print(
            f"\n[bold]{len(samples) / took:,.0f} messages per second[/]: {len(samples)} messages accepted by the bus in "
            f"{published:.2f} s, committed and their events on the bus after {took:.2f} s. "
            "So few messages mostly measure the start; `make bench` measures the fleet.\n"
        )
    finally:
        await client.close()
        await database.close()
        await bus.close()


@contextlib.asynccontextmanager
async def fleet() -> AsyncIterator[Fleet]:
    """``rollcall up --ephemeral --json`` as a user would run it, for as long as the block."""
    # Nobody's servers but its own: a throw-away fleet must not build a search index over a real one.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ROLLCALL_") and name != "ELASTICSEARCH_URL"
    }
    process = await asyncio.create_subprocess_exec(
        *command("up", "--ephemeral", "--json"),
        stdout=asyncio.subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_WITHIN + 30):
            line = await process.stdout.readline()
        if not line:
            raise RuntimeError("the fleet did not start; what it said is above")
        said = orjson.loads(line)
        yield Fleet(**{name: said[name] for name in Fleet._fields})
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), END_WITHIN + 10)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _publish(bus: Nats, samples: Sequence[Sample]) -> None:
    """In order, with many acknowledgements outstanding."""
    stream = bus.jetstream(publish_async_max_pending=IN_FLIGHT)
    acknowledged = [
        await stream.publish_async(sample.subject, sample.body, headers=HEADERS) for sample in samples
    ]
    await asyncio.wait_for(asyncio.gather(*acknowledged), SETTLED_WITHIN)


async def _settled(fleet: Fleet, database: asyncpg.Connection, messages: int) -> Counter[str]:
    """Wait until every message has its outcome and every event has left; answers the outcomes."""
    readers = [url for key, url in fleet.http.items() if key.startswith(("inbox/", "contacts/"))]
    deadline = time.monotonic() + SETTLED_WITHIN
    while True:
        outcomes: Counter[str] = Counter()
        for _, body in await asyncio.gather(*(get(f"{url}/metrics") for url in readers)):
            for sample in read_samples(body.decode(), "rollcall_messages_total"):
                outcomes[sample.labels["outcome"]] += int(sample.value)
        waiting = await database.fetchval(
            "select (select count(*) from outbox where published_at is null)"
            " + (select count(*) from dead_letters where published_at is null)"
        )
        if outcomes.total() >= messages and not waiting:
            return outcomes
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"after {SETTLED_WITHIN:g} s only {outcomes.total()} of {messages} messages are through"
            )
        await asyncio.sleep(0.01)


def _print_traffic(console: Console, samples: Sequence[Sample], outcomes: Counter[str]) -> None:
    kinds = Counter(".".join(sample.subject.split(".")[:2]) for sample in samples)
    table = _table(f"{len(samples)} messages")
    table.add_column("published")
    table.add_column("", justify="right")
    table.add_column("became")
    table.add_column("", justify="right")
    left = [*kinds.most_common(), *((f"[dim]{note}[/]", n) for note, n in _notes(samples).items())]
    right = outcomes.most_common()
    for row in range(max(len(left), len(right))):
        kind, count = left[row] if row < len(left) else ("", "")
        outcome, number = right[row] if row < len(right) else ("", "")
        table.add_row(kind, str(count), outcome, str(number))
    console.print(table)


def _notes(samples: Sequence[Sample]) -> Counter[str]:
    return Counter(sample.note for sample in samples if sample.note)


async def _print_contacts(console: Console, database: asyncpg.Connection) -> None:
    table = _table("Contacts")
    table.add_column("tenant")
    for heading in (
        "created",
        "by a\ncommand",
        "by a\nwebhook",
        "times\nresolved",
        "identifiers",
        "timeline\nevents",
    ):
        table.add_column(heading, justify="right")
    for tenant in TENANTS:
        row = await database.fetchrow(
            """
            select (select count(*) from contacts where tenant_id = $1) as created,
                (select count(*) from contact_events
                 where tenant_id = $1 and type = 'contact_created' and triggered_by like 'user:%') as by_command,
                (select count(*) from contact_events
                 where tenant_id = $1 and source = 'webhook' and category in ('general', 'tracking')) as heard,
                (select count(*) from channel_identifiers where tenant_id = $1 and slot = 0) as identifiers,
                (select count(*) from contact_events where tenant_id = $1) as events
            """,
            tenant,
        )
        assert row is not None
        by_webhook = row["created"] - row["by_command"]
        numbers = (row["created"], row["by_command"], by_webhook, row["heard"] - by_webhook)
        table.add_row(tenant, *map(str, numbers), str(row["identifiers"]), str(row["events"]))
    console.print(table)


async def _print_timeline(console: Console, client: Client) -> None:
    tenant = TENANTS[0]
    found = _data(await client.query("contact.find", tenant, SHOWN))
    events = _data(
        await client.query("contact.timeline", tenant, {"contact": {"id": found["id"]}, "limit": 200})
    )
    table = _table(
        f"The timeline of {found['display_name']} ({found['phone']}, {found['status']}, "
        f"version {found['version']}, tags {', '.join(found['tags'])})"
    )
    table.add_column("#", justify="right", no_wrap=True)
    for heading in ("when", "type", "what", "from"):
        table.add_column(heading, no_wrap=heading != "what")
    for event in reversed(events):
        table.add_row(
            str(event["sequence"]),
            event["occurred_at"][5:16].replace("T", " "),
            event["type"],
            event["description"] or event["title"],
            event["integration_source"] or event["triggered_by"] or event["source"],
        )
    console.print(table)


async def _print_search(console: Console, client: Client) -> None:
    tenant = TENANTS[0]
    table = Table(title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("searched", "found", "where"):
        table.add_column(heading)
    engine = ""
    for search in SEARCHES:
        answer = await client.query("contact.search", tenant, {"q": search, "page_size": 1})
        for hit in _data(answer):
            where = "; ".join(f"{field}: {marked[0]}" for field, marked in hit["highlights"].items())
            table.add_row(search, hit["display_name"], _marked(where))
        engine = (answer.meta or {})["engine"]
    table.title = f"\nSearches of {tenant}, answered by {engine}"
    console.print(table)


def _marked(highlighted: str) -> Text:
    """A highlight for the terminal."""
    text = Text()
    for n, piece in enumerate(re.split(r"</?em>", highlighted)):
        text.append(html.unescape(piece), style="bold" if n % 2 else "")
    return text


async def _print_events(console: Console, bus: Nats) -> None:
    info = await bus.jetstream().stream_info("EVENTS", subjects_filter=">")
    types: Counter[str] = Counter()
    for subject, count in (info.state.subjects or {}).items():
        if not subject.startswith("relay."):
            types[".".join(subject.split(".")[:2])] += count
    table = _table(f"{types.total()} events left")
    table.add_column("type")
    table.add_column("events", justify="right")
    for name, count in types.most_common():
        table.add_row(name, str(count))
    console.print(table)


async def _print_dead_letters(console: Console, database: asyncpg.Connection) -> None:
    letters = [letter async for letter in listed(database)]
    table = _table(f"{len(letters)} dead letters, kept whole and replayable")
    for heading in ("stream", "tenant", "position", "reason", "detail"):
        table.add_column(
            heading, justify="right" if heading == "position" else "left", no_wrap=heading != "detail"
        )
    for letter in letters:
        table.add_row(letter.stream, letter.tenant, str(letter.position), letter.reason, letter.detail)
    console.print(table)


def _table(title: str) -> Table:
    return Table(title=f"\n{title}", title_justify="left", box=box.SIMPLE_HEAD)


def _data(answer: Any) -> Any:
    if not answer.success:
        raise RuntimeError(f"a query was refused: {answer.error}")
    return answer.data
