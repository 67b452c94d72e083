"""A worker about nothing: a processor that writes one row a message, and can be told to fail."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import asyncpg

from contracts import subjects
from contracts.subjects import HEADER_REPLY_TO, WEBHOOK
from storage.errors import Restart
from storage.postgres import WRITER, connect
from workers.engine.consumer import Consumer
from workers.engine.log import Log
from workers.engine.options import Options
from workers.engine.record import Applied, Outcome, Record, Undecodable

TABLE = """
create table toys (
    place bigint generated always as identity, tenant text, key text, body text check (body <> 'refused'), position bigint
);
grant select, insert on toys to rollcall_writer;
"""


@dataclass(frozen=True, slots=True)
class ToyMessage:
    record: Record
    tenant: str
    key: str
    body: str
    id: str = "toy"
    kind: str = "webhook.message"
    correlation_id: str | None = None
    reply_to: str | None = None


@dataclass
class Toys:
    """Bodies: "undecodable", "refused" (by the table), "nul", "raises", "fails" (the handler says so itself)."""

    failing_tenants: set[str] = field(default_factory=set)
    applied: list[int] = field(default_factory=list)  # messages of each attempt
    known: set[str] = field(default_factory=set)  # bodies that have died before
    most: int = 500  # messages of a batch beyond which the database gives up
    before: list[Callable[[asyncpg.Connection], Awaitable[None]]] = field(default_factory=list)

    def decode(self, record: Record) -> ToyMessage:
        try:
            subject = subjects.parse(record.subject)
        except subjects.SubjectError as error:
            raise Undecodable("bad_subject", str(error)) from None
        body = record.data.decode()
        if body == "undecodable":
            raise Undecodable("not_json", "told so", subject.tenant)
        reply_to = record.headers.get(HEADER_REPLY_TO)
        return ToyMessage(record, subject.tenant, subject.key, body, reply_to=reply_to)

    async def apply(self, connection: asyncpg.Connection, messages: Sequence[ToyMessage]) -> Applied:
        self.applied.append(len(messages))
        if len(messages) > self.most:
            await lose_connection(connection)
        if self.before:
            await self.before.pop(0)(connection)
        if any(message.body == "raises" for message in messages):
            raise KeyError("a fault of the program")
        good = [m for m in messages if m.body != "fails" and m.tenant not in self.failing_tenants]
        await connection.execute(
            "insert into toys (tenant, key, body, position)"
            " select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[])",
            [m.tenant for m in good],
            [m.key for m in good],
            ["\0" if m.body == "nul" else m.body for m in good],
            [m.record.sequence for m in good],
        )
        failed = Outcome("dead", code="handler_failed", message="RuntimeError")
        done = {m.record.sequence for m in good}
        return Applied([Outcome("applied") if m.record.sequence in done else failed for m in messages])

    async def bury(self, _: asyncpg.Connection, message: ToyMessage, outcome: Outcome) -> Outcome:
        return Outcome("duplicate") if message.body in self.known else outcome


async def restart(_: asyncpg.Connection) -> None:
    raise Restart("told so")


async def deadlock(_: asyncpg.Connection) -> None:
    raise asyncpg.DeadlockDetectedError("told so")


async def lose_connection(connection: asyncpg.Connection) -> None:
    connection.terminate()
    raise ConnectionResetError("told so")


class Worker:
    """A consumer of the toys at work; ``stop`` it, or ``drop`` it as a crash does."""

    def __init__(
        self, log: Log, dsn: str, toys: Toys | None = None, name: str = "one", **options: float
    ) -> None:
        self.toys = toys or Toys()
        chosen = {"lease_seconds": 2, "survey_seconds": 0.1, "probe_seconds": 0.3, "changed_seconds": 0.1}
        self.woken = 0

        async def wake() -> None:
            self.woken += 1

        self.consumer = Consumer(
            WEBHOOK,
            self.toys,
            log,
            lambda: connect(dsn, WRITER, "toys"),
            Options(instance=name, **(chosen | options)),
            wake,
        )
        self.task = asyncio.create_task(self.consumer.run())

    async def stop(self) -> None:
        stopping = asyncio.create_task(self.consumer.stop())
        await asyncio.wait([stopping, self.task], return_when=asyncio.FIRST_COMPLETED)
        await self.task

    async def drop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def rows(connection: asyncpg.Connection) -> dict[tuple[str, str], list[str]]:
    """Bodies by tenant and key, in the order in which they took effect."""
    found = defaultdict(list)
    for row in await connection.fetch("select tenant, key, body from toys order by place"):
        found[row["tenant"], row["key"]].append(row["body"])
    return found
