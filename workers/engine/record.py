"""What the engine reads and what becomes of it. No I/O, and nothing of contacts."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import asyncpg

from contracts.subjects import NO_TENANT
from storage.outbox import OutboundEvent


@dataclass(frozen=True, slots=True)
class Record:
    """One message as the log holds it."""

    stream: str
    partition: int
    sequence: int
    subject: str  # as published, without the partition that the broker put in
    headers: Mapping[str, str]
    data: bytes
    time: datetime  # the broker's, UTC


class Undecodable(Exception):
    """Raised by ``Processor.decode``: the record is dead-lettered with this reason, and harms nobody else."""

    def __init__(self, reason: str, detail: str, tenant: str = NO_TENANT) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.tenant = tenant


class Message(Protocol):
    """What the engine must know of a decoded message."""

    @property
    def record(self) -> Record: ...
    @property
    def tenant(self) -> str: ...
    @property
    def id(self) -> str: ...  # the envelope's
    # The envelope's type by its subject: "webhook.whatsapp", "command.contact.create".
    @property
    def kind(self) -> str: ...
    @property
    def correlation_id(self) -> str | None: ...
    @property
    def reply_to(self) -> str | None: ...  # validated: _INBOX.… or result.<tenant>.…


@dataclass(slots=True)
class Outcome:
    """What became of one message; the union is closed: docs/codes.md, "Outcomes"."""

    status: Literal["applied", "duplicate", "rejected", "dead"]
    contact_id: uuid.UUID | None = None
    version: int | None = None
    created: bool | None = None
    items: list[dict[str, Any]] | None = None
    code: str | None = None  # of a rejection; the reason of a dead letter
    message: str | None = None
    details: dict[str, Any] | None = None
    first: dict[str, Any] | None = None  # of a duplicate: the first outcome


@dataclass(slots=True)
class Applied:
    """The answer of ``Processor.apply``: one outcome a message, in order, and the events in the order they leave."""

    outcomes: list[Outcome]
    events: list[OutboundEvent] = field(default_factory=list)


M = TypeVar("M", bound=Message)


class Processor(Protocol, Generic[M]):
    """What a worker adds to the engine.

    ``decode`` is pure and raises ``Undecodable``. ``apply`` runs in the open transaction that also moves the cursors; it
    may raise ``Restart``. A handler's own exception must come back as ``Outcome("dead", code="handler_failed")``.
    ``bury`` runs in that transaction for a message that ``apply`` raises on, alone, and says what is to become of it: the
    outcome that it is given, or that of a message which came before.
    """

    def decode(self, record: Record) -> M: ...

    async def apply(self, connection: asyncpg.Connection, messages: Sequence[M]) -> Applied: ...

    async def bury(self, connection: asyncpg.Connection, message: M, outcome: Outcome) -> Outcome: ...


class Lag(NamedTuple):
    """Messages that wait, when the oldest of them was stored (None: unknown, or there is none), and what keeps from reading.

    ``unread`` says why a partition is not read; what waits in it is then counted as far as it is known.
    """

    messages: int = 0
    oldest: datetime | None = None
    unread: str | None = None

    @property
    def seconds(self) -> float:
        """The age of the oldest."""
        return 0.0 if self.oldest is None else max(0.0, (datetime.now(UTC) - self.oldest).total_seconds())


def lag_of(records: Iterable[Record]) -> Lag:
    """That of records that are here."""
    times = [record.time for record in records]
    return Lag(len(times), min(times, default=None))


def total(lags: Iterable[Lag]) -> Lag:
    found = list(lags)
    oldest = min((lag.oldest for lag in found if lag.oldest is not None), default=None)
    unread = next((lag.unread for lag in found if lag.unread is not None), None)
    return Lag(sum(lag.messages for lag in found), oldest, unread)


class StreamChanged(Exception):
    """The stream is not the one the cursor speaks of: made anew, or it ends before the cursor."""


class Idle(NamedTuple):
    """A partition in which nothing is pending: the last sequence handed out, and up to where nothing follows it."""

    read: int
    until: int


class Reader(Protocol):
    """A log reader. Per partition it hands out rising sequences, each once."""

    async def assign(self, positions: Mapping[int, int]) -> None:
        """Read exactly these partitions, each from the message after the given sequence. Replaces the assignment."""

    async def read(self, max_records: int, max_bytes: int) -> list[Record]:
        """Whatever is there, round-robin over the partitions; waits while there is nothing. At least one record.

        While the broker says that more is pending it may wait up to 20 ms to fill. Raises StreamChanged.
        """

    def idle_positions(self) -> dict[int, Idle]:
        """The partitions in which nothing is pending."""

    async def lag(self) -> Lag:
        """What was not handed out."""

    async def close(self) -> None: ...
