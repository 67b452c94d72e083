"""One batch, one transaction: the cursors move, the effects happen, what leaves is written; or nothing of it.

Invariant: everything that a batch does is in this transaction, so whoever finds the cursors moved knows that the effects
are there, and whoever finds them where they were knows that nothing is. No other question is ever asked about a commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

import asyncpg
from asyncpg.transaction import Transaction

from contracts.subjects import HEADER_REPLAY
from ops import failpoint, metrics
from storage import cursors, dead_letters, outbox
from storage.dead_letters import NewDeadLetter
from storage.errors import Restart
from storage.outbox import Reply
from workers.engine import replies
from workers.engine.batch import Batch, Unread, sample
from workers.engine.bisect import Poison, settle, settle_halves
from workers.engine.breaker import Breaker, Sample
from workers.engine.errors import CommitUnknown, CursorMoved, Fault, burial, classify
from workers.engine.record import Applied, Message, Outcome, Processor, Record

M = TypeVar("M", bound=Message)

ROLL_BACK_SECONDS = 5
JUDGED_EVERY = 25  # burials of one batch after which the breaker is asked again, so that a flood ends early


class Committed(NamedTuple):
    """What a batch came to: an outcome an entry, and whether anything is left for the relay to publish."""

    outcomes: list[Outcome]
    leaves: bool


class Unit(Generic[M]):
    """Commits batches of one stream."""

    def __init__(self, stream: str, processor: Processor[M], breaker: Breaker) -> None:
        self._stream = stream
        self._processor = processor
        self._breaker = breaker

    async def commit(
        self,
        connection: asyncpg.Connection,
        stream_created: datetime,
        old: Mapping[int, int],
        batch: Batch[M],
        *,
        careful: bool = False,
        hopeless: bool = False,
    ) -> Committed:
        """Apply a batch that begins at the positions ``old`` in a transaction of its own.

        ``careful`` is for a batch that has met a data error: it finds the messages at fault and buries them. ``hopeless``,
        for one that has lost so many races that it cannot be races: what still loses is buried too.
        Raises Held, CursorMoved, CommitUnknown, or whatever the processor or the connection raised; nothing is committed
        then, except perhaps after CommitUnknown.
        """
        clock = _Clock(self._stream)
        transaction = connection.transaction()
        await transaction.start()
        clock.passed("begin")
        try:
            if not await cursors.compare_and_set(
                connection, self._stream, stream_created, old, batch.positions
            ):
                raise CursorMoved
            clock.passed("cursors")
            applied = await self._apply(connection, batch.messages(), careful=careful, hopeless=hopeless)
            clock.passed("apply")
            outcomes = batch.outcomes(applied.outcomes)
            samples = batch.samples(outcomes)
            self._breaker.judge(samples, time.monotonic())
            letters = self._letters(batch, outcomes)
            if letters:
                await dead_letters.insert(connection, letters)
                clock.passed("dead_letters")
            answers = _answers(batch, outcomes)
            if applied.events or answers:
                await outbox.append(connection, applied.events, answers)
                clock.passed("outbox")
            failpoint.hit("before_commit")
        except BaseException:
            await _roll_back(connection, transaction)
            raise
        await _commit(transaction)
        failpoint.hit("after_commit")
        clock.passed("commit")
        clock.stop()
        self._breaker.committed(samples)
        self._count(batch, outcomes)
        return Committed(outcomes, bool(applied.events or answers or letters))

    async def _apply(
        self, connection: asyncpg.Connection, messages: Sequence[M], *, careful: bool, hopeless: bool
    ) -> Applied:
        if not messages:
            return Applied([])
        if careful:
            applied = await self._carefully(connection, messages, hopeless=hopeless)
        else:
            applied = await self._processor.apply(connection, messages)
        if len(applied.outcomes) != len(messages):
            raise TypeError(f"{len(applied.outcomes)} outcomes of {len(messages)} messages")
        return applied

    async def _carefully(
        self, connection: asyncpg.Connection, messages: Sequence[M], *, hopeless: bool
    ) -> Applied:
        """Apply in order under savepoints. The breaker sees the whole before anything is committed."""
        samples: list[Sample] = []
        buried = 0

        async def attempt(part: Sequence[M]) -> Applied:
            savepoint = connection.transaction()
            await savepoint.start()
            try:
                applied = await self._processor.apply(connection, part)
            except Exception as error:
                if classify(error) is not Fault.DATA and not (hopeless and isinstance(error, Restart)):
                    raise
                await savepoint.rollback()
                raise Poison from error
            await savepoint.commit()
            samples.extend(map(sample, part, applied.outcomes))
            return applied

        async def bury(message: M, poison: Poison) -> Applied:
            nonlocal buried
            reason, detail = burial(poison.__cause__ or poison)
            dead = Outcome("dead", code=reason, message=detail)
            outcome = await self._processor.bury(connection, message, dead)
            samples.append(sample(message, outcome))
            buried += 1
            if buried % JUDGED_EVERY == 0:
                self._breaker.judge(samples, time.monotonic())
            return Applied([outcome])

        return await (settle_halves if len(messages) > 1 else settle)(messages, attempt, bury)

    def _letters(self, batch: Batch[M], outcomes: Sequence[Outcome]) -> list[NewDeadLetter]:
        return [
            _letter(entry.record, entry.tenant, outcome)
            for entry, outcome in zip(batch.entries, outcomes, strict=True)
            if outcome.status == "dead"
        ]

    def _count(self, batch: Batch[M], outcomes: Sequence[Outcome]) -> None:
        metrics.BATCHES.labels(self._stream).inc()
        labels = Counter((o.status, o.code if o.status in ("rejected", "dead") else None) for o in outcomes)
        for (status, reason), count in labels.items():
            metrics.MESSAGES.labels(self._stream, status, reason or "").inc(count)
            if status == "dead":
                metrics.DEAD_LETTERS.labels(self._stream, reason or "").inc(count)
        for entry in batch.entries:
            if isinstance(entry, Unread):
                metrics.UNDECODABLE.labels(self._stream, metrics.tenant_label(entry.tenant)).inc()


def _letter(record: Record, tenant: str, outcome: Outcome) -> NewDeadLetter:
    return NewDeadLetter(
        stream=record.stream,
        tenant=tenant,
        partition=record.partition,
        position=record.sequence,
        subject=record.subject,
        reason=outcome.code or "",
        detail=outcome.message or "",
        headers=record.headers,
        body=record.data,
        broker_time=record.time,
        replay_of=record.headers.get(HEADER_REPLAY),
    )


def _answers(batch: Batch[M], outcomes: Sequence[Outcome]) -> list[Reply]:
    answers = (
        replies.of_record(entry.record, outcome)
        if isinstance(entry, Unread)
        else replies.of_message(entry, outcome)
        for entry, outcome in zip(batch.entries, outcomes, strict=True)
    )
    return [answer for answer in answers if answer is not None]


async def _commit(transaction: Transaction) -> None:
    try:
        await transaction.commit()
    except Exception as error:
        raise CommitUnknown from error


async def _roll_back(connection: asyncpg.Connection, transaction: Transaction) -> None:
    """A connection that cannot roll back is of no use to anyone."""
    try:
        async with asyncio.timeout(ROLL_BACK_SECONDS):
            await transaction.rollback()
    except Exception:  # noqa: BLE001 - what led here is the error that counts
        with contextlib.suppress(Exception):
            connection.terminate()


class _Clock:
    """The phases of one batch, for the histogram."""

    __slots__ = ("_began", "_last", "_stream")

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._began = self._last = time.perf_counter()

    def passed(self, phase: str) -> None:
        now = time.perf_counter()
        metrics.BATCH_SECONDS.labels(self._stream, phase).observe(now - self._last)
        self._last = now

    def stop(self) -> None:
        metrics.BATCH_SECONDS.labels(self._stream, "total").observe(self._last - self._began)
