"""Applying messages to a real database without a bus: what the handlers make of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson

from contracts import envelope, subjects
from contracts.envelope import Envelope
from ops.settings import Settings
from storage.errors import Restart
from workers.contacts import Commands
from workers.engine.record import Outcome, Record, Undecodable
from workers.inbox import Webhooks

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
_sequence = itertools.count(1)


def settings(**given: Any) -> Settings:
    return Settings(nats_url="nats://localhost:4222", postgres_dsn="postgresql://localhost/x", **given)


@dataclass
class Applier:
    """Sends one message a transaction and keeps the events that it brought about, parsed."""

    connection: asyncpg.Connection
    tenant: str = "acme"
    settings: Settings = field(default_factory=settings)
    events: list[dict[str, Any]] = field(default_factory=list)

    async def send(self, name: str, data: Mapping[str, Any], **attributes: Any) -> Outcome:
        """A command."""
        return await self._apply(subjects.command(name, self.tenant), f"command.{name}", data, attributes)

    async def webhook(self, provider: str, body: Any, **attributes: Any) -> Outcome:
        return await self._apply(
            subjects.webhook(provider, self.tenant), f"webhook.{provider}", body, attributes
        )

    async def batch(self, records: list[Record]) -> list[Outcome]:
        """Several messages in one transaction; undecodable ones are left to raise."""
        while True:
            transaction = self.connection.transaction()
            await transaction.start()
            try:
                outcomes, events = await self.apply_open(records)
            except Restart:
                await transaction.rollback()
                continue
            except BaseException:
                await transaction.rollback()
                raise
            await transaction.commit()
            self.events += events
            return outcomes

    async def apply_open(self, records: list[Record]) -> tuple[list[Outcome], list[dict[str, Any]]]:
        """Apply in the connection's open transaction; the outcomes, and the events as they would leave."""
        processor = self._processor(records[0])
        messages = [processor.decode(record) for record in records]
        applied = await processor.apply(self.connection, messages)  # type: ignore[arg-type]
        return applied.outcomes, [{**orjson.loads(e.payload), "on": e.subject} for e in applied.events]

    def record(self, subject: str, kind: str, data: Any, attributes: Mapping[str, Any]) -> Record:
        number = next(_sequence)
        values: dict[str, Any] = {
            "id": f"m{number}",
            "source": "test",
            "type": kind,
            "time": NOW,
            **attributes,
        }
        headers = values.pop("headers", {})
        body = envelope.dump(Envelope(data=data, **values))
        return Record(kind.split(".", maxsplit=1)[0].upper(), 0, number, subject, headers, body, NOW)

    async def _apply(self, subject: str, kind: str, data: Any, attributes: Mapping[str, Any]) -> Outcome:
        try:
            (outcome,) = await self.batch([self.record(subject, kind, data, attributes)])
        except Undecodable as error:
            return Outcome("dead", code=error.reason, message=error.detail)
        return outcome

    def _processor(self, record: Record) -> Commands | Webhooks:
        return Commands(self.settings) if record.stream == "COMMAND" else Webhooks(self.settings)

    def said(self, *types: str) -> list[dict[str, Any]]:
        """Events of these types, in order."""
        return [event for event in self.events if event["type"] in types]

    def timeline(self) -> list[str]:
        """The types of the timeline events, in order."""
        return [event["data"]["type"] for event in self.events if event["type"].startswith("timeline.")]
