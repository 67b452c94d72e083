"""A batch: records read from the log, decoded, in the order in which they were read. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from contracts import subjects
from contracts.subjects import SubjectError
from workers.engine.breaker import Sample
from workers.engine.record import Lag, Message, Outcome, Processor, Record, Undecodable, lag_of

HANDLER_FAILED = "handler_failed"

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Unread:
    """A record that could not be decoded."""

    record: Record
    tenant: str
    reason: str
    detail: str

    @property
    def outcome(self) -> Outcome:
        return Outcome("dead", code=self.reason, message=self.detail)


def decode(processor: Processor[M], record: Record) -> M | Unread:
    """The message, or why there is none. A decoder's own failure is one message's harm as well."""
    try:
        return processor.decode(record)
    except Undecodable as error:
        return Unread(record, error.tenant, error.reason, error.detail)
    except Exception as error:  # noqa: BLE001
        try:
            tenant = subjects.parse(record.subject).tenant
        except SubjectError:
            tenant = subjects.NO_TENANT
        return Unread(record, tenant, HANDLER_FAILED, f"decode: {type(error).__name__}")


class Batch(Generic[M]):
    """Entries in reading order, and where they leave each partition."""

    __slots__ = ("entries", "positions", "size")

    def __init__(self, entries: Iterable[M | Unread] = ()) -> None:
        self.entries: list[M | Unread] = []
        self.positions: dict[int, int] = {}
        self.size = 0  # bytes
        for entry in entries:
            self.add(entry)

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, entry: M | Unread) -> None:
        record = entry.record
        self.entries.append(entry)
        self.positions[record.partition] = record.sequence
        self.size += len(record.data)

    def lag(self) -> Lag:
        return lag_of(entry.record for entry in self.entries)

    def messages(self) -> list[M]:
        """The entries that were decoded."""
        return [entry for entry in self.entries if not isinstance(entry, Unread)]

    def first(self, most: int) -> Batch[M]:
        """The beginning of the batch, of at most so many entries."""
        return self if len(self) <= most else Batch(self.entries[:most])

    def until(self, is_last: Callable[[M], bool]) -> Batch[M]:
        """The beginning of the batch, through the first message of which this holds."""
        for n, entry in enumerate(self.entries):
            if not isinstance(entry, Unread) and is_last(entry):
                return Batch(self.entries[: n + 1])
        return self

    def before(self, is_end: Callable[[M], bool]) -> Batch[M]:
        """The beginning of the batch, up to but without the first message of which this holds."""
        for n, entry in enumerate(self.entries):
            if not isinstance(entry, Unread) and is_end(entry):
                return Batch(self.entries[:n])
        return self

    def outcomes(self, of_messages: Sequence[Outcome]) -> list[Outcome]:
        """An outcome an entry, given those of the messages."""
        following = iter(of_messages)
        return [entry.outcome if isinstance(entry, Unread) else next(following) for entry in self.entries]

    def samples(self, outcomes: Sequence[Outcome]) -> list[Sample]:
        """What the breaker looks at: messages that a handler has seen. Undecodable input says nothing of handlers."""
        return [
            sample(entry, outcome)
            for entry, outcome in zip(self.entries, outcomes, strict=True)
            if may_fail(entry)
        ]


def may_fail(entry: Message | Unread) -> bool:
    """Whether what becomes of the entry says something of our own code."""
    return not isinstance(entry, Unread) or entry.reason == HANDLER_FAILED


def sample(entry: Message | Unread, outcome: Outcome) -> Sample:
    failed = outcome.status == "dead" and outcome.code == HANDLER_FAILED
    return Sample(entry.record.partition, entry.tenant, failed)
