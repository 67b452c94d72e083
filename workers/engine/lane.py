"""One lane of a worker: some partitions, a reader, a connection, one transaction at a time.

A lane lives in sessions. A session begins at the cursors as the database has them and ends when the assignment changes
or anything fails; whatever was read and not committed is forgotten then. So there is one way back to a sound state, and
every difficulty takes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar

import asyncpg

from contracts.subjects import StreamSpec
from ops import metrics
from ops.logging import Operation, get_logger, whose
from storage import cursors, postgres
from storage.errors import Restart
from workers.engine.ahead import Ahead
from workers.engine.batch import Batch, Unread, decode, may_fail
from workers.engine.breaker import Breaker, Held
from workers.engine.errors import CursorMoved, Fault, classify, keeps_place, retry_reason
from workers.engine.log import Log, check_stream
from workers.engine.options import Options
from workers.engine.record import Lag, Message, Processor, Reader, StreamChanged, total
from workers.engine.unit import Committed, Unit

M = TypeVar("M", bound=Message)

AGAIN_AT_ONCE = 5  # lost races of one batch before its cursors are read again
HOPELESS = 50  # lost races in a row: no rival is so quick, a message of the batch must be at fault
READ_SECONDS = 10  # a partition known to have messages gives one within this

log = get_logger("workers.engine")


class Lane(Generic[M]):
    """Applies the partitions that it is told to, until it is told to stop."""

    def __init__(
        self,
        spec: StreamSpec,
        source: Log,
        processor: Processor[M],
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        breaker: Breaker,
        options: Options,
        *,
        wake: Callable[[], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        self._spec = spec
        self._log = source
        self._decode = partial(decode, processor)
        self._connect = connect
        self._breaker = breaker
        self._options = options
        self._wake = wake
        self._changed = changed  # called when ``held`` has changed
        self._unit = Unit(spec.name, processor, breaker)
        self._connection: asyncpg.Connection | None = None
        self._reader: Reader | None = None
        self._reads: datetime | None = None  # the stream that the reader was opened on, by its creation
        self._wanted: frozenset[int] = frozenset()
        self._stopping = False
        self._attention = asyncio.Event()
        self._positions: dict[int, int] = {}
        self._in_hand: Batch[M] = Batch()
        self._ahead: Ahead[M] | None = None
        self._waiting = Lag()  # what the reader had not handed out when it was last asked
        # What the last session had read and not committed, until the reader goes back.
        self._forgotten = Lag()
        self._failures = 0  # in a row
        # Of a transaction: fewer after one that failed, which may have been too much.
        self._most = options.batch_messages
        self._lost_races = 0  # in a row
        self._commits = 0  # on this connection
        self._next_idle_check = 0.0
        self.held: frozenset[int] = frozenset()
        self.problem: str | None = None
        self.moved_at = time.monotonic()  # when a position last moved, or nothing waited
        self.read_at = self.moved_at  # when every partition was last seen to be read

    def want(self, partitions: frozenset[int]) -> None:
        """From the next batch on, work on exactly these partitions."""
        if partitions != self._wanted:
            self._wanted = partitions
            self._attention.set()

    def stop(self) -> None:
        """Finish the batch in hand and return from ``run``."""
        self._stopping = True
        self._attention.set()

    def wake_up(self) -> None:
        """Look again at what was waited for."""
        self._attention.set()

    @property
    def waits(self) -> bool:
        """Whether messages wait to be applied."""
        return bool(self._in_hand or self._failures or self._waiting.messages)

    @property
    def unread(self) -> str | None:
        """Why a partition is not read."""
        return self._waiting.unread

    async def survey(self) -> Lag:
        """What lies behind the committed positions; keeps ``moved_at`` and ``read_at``. Paused partitions are left out."""
        if self._reader is not None:
            self._waiting = await self._reader.lag()
        now = time.monotonic()
        if not self.waits:
            self.moved_at = now
        if not self.unread:
            self.read_at = now
        return total((self._waiting, self._forgotten, self._uncommitted()))

    def _uncommitted(self) -> Lag:
        """What this session has read."""
        return total((self._in_hand.lag(), self._ahead.lag() if self._ahead is not None else Lag()))

    async def run(self) -> None:
        """Raises what is neither a message's fault nor passing."""
        try:
            while not self._stopping:
                try:
                    await self._session()
                except Held as error:
                    log.warning("held", stream=self._spec.name, reason=str(error))
                    self._changed()
                except StreamChanged as error:
                    await self._lose_stream(error)
                except Exception as error:
                    if classify(error) is not Fault.RETRY:
                        raise
                    await self._back_off(error)
        finally:
            await self._close()

    # -- sessions

    async def _session(self) -> None:
        """From the cursors on, until the assignment changes. Raises on any failure."""
        self._attention.clear()  # before looking, so that a change that comes meanwhile is seen
        self._next_idle_check = time.monotonic() + self._options.survey_seconds
        wanted = self._wanted
        for partition in self.held - wanted:
            self._breaker.resume(partition)
        connection = await self._connected()
        created = await self._load_positions(connection, wanted)
        if self.held != wanted:
            self.held = wanted
            self._changed()
        if not wanted or created is None:
            if self._reader is not None:
                await self._reader.assign({})
            self._waiting = self._forgotten = Lag()
            self.problem = None  # whatever it was, it is somebody else's now
            await self._wait(self._options.survey_seconds)
            return
        reader = await self._opened(created)
        due = self._breaker.due(wanted, time.monotonic())
        if due:
            await self._try_paused(connection, reader, created, due[0])
            return
        playing = wanted - frozenset(self._breaker.paused)
        await self._assign(reader, playing)
        ahead = self._ahead = self._read_ahead(reader)
        try:
            while self._wanted == wanted and not self._stopping:
                await self._step(connection, reader, created, ahead)
                if self._breaker.due(wanted, time.monotonic()):
                    break
        finally:
            await ahead.stop()
            self._forgotten = self._uncommitted()
            self._in_hand, self._ahead = Batch(), None

    async def _assign(self, reader: Reader, partitions: Iterable[int]) -> None:
        """Read exactly these, from the committed positions on."""
        await reader.assign({p: self._positions[p] for p in partitions})
        self._forgotten = Lag()

    async def _step(
        self, connection: asyncpg.Connection, reader: Reader, created: datetime, ahead: Ahead[M]
    ) -> None:
        """Apply what is there, or wait a while for it."""
        self._attention.clear()  # before looking, so that nothing that comes while we look is missed
        if not self._in_hand:
            try:
                self._in_hand = ahead.take()
            except Exception:
                await self._close_reader()  # it will not get over what it raised
                raise
        now = time.monotonic()
        if self._in_hand and not self._breaker.open:
            part = self._in_hand.first(self._most)
            await self._commit(connection, created, part)
            self._in_hand = Batch(self._in_hand.entries[len(part) :])
        elif self._in_hand and self._breaker.seconds_to_probe(now) == 0:
            await self._probe(connection, created, self._in_hand)
        elif now < self._next_idle_check:
            probe = self._breaker.seconds_to_probe(now) if self._in_hand else float("inf")
            paused = self._breaker.seconds_to_due(self.held, now)
            await self._wait(min(probe, paused, self._next_idle_check - now))
            return
        if now >= self._next_idle_check:
            self._next_idle_check = now + self._options.survey_seconds
            if not self._in_hand:  # what failed was somebody else's to apply, and nothing has come since
                self._failures = 0
            await self._advance_idle(connection, reader, created)

    def _read_ahead(self, reader: Reader) -> Ahead[M]:
        return Ahead(
            reader, self._decode, self._options.batch_messages, self._options.batch_bytes, self._attention
        )

    async def _load_positions(
        self, connection: asyncpg.Connection, wanted: frozenset[int]
    ) -> datetime | None:
        """Where the database says that we are; the creation of the stream it speaks of. Raises StreamChanged."""
        with postgres.within(connection):
            found = await cursors.load(connection, self._spec.name, wanted)
        self._positions = {p: found[p].sequence for p in wanted}
        streams = {cursor.stream_created for cursor in found.values()}
        if len(streams) > 1:
            raise StreamChanged(
                f"the cursors of stream {self._spec.name} speak of several streams of that name;"
                " `rollcall streams adopt` decides where to go on"
            )
        return streams.pop() if streams else None

    # -- committing

    async def _commit(self, connection: asyncpg.Connection, created: datetime, batch: Batch[M]) -> None:
        """Apply a batch and move the positions, through lost races and data errors."""
        old = {p: self._positions[p] for p in batch.positions}
        operation = Operation(log, "batch", stream=self._spec.name, messages=len(batch), **_common(batch))
        hopeless = self._lost_races >= HOPELESS
        careful = hopeless
        races = 0
        while True:
            try:
                async with asyncio.timeout(self._options.batch_seconds):
                    committed = await self._unit.commit(
                        connection, created, old, batch, careful=careful, hopeless=hopeless
                    )
                break
            except Held as error:
                operation.fail(error)
                raise
            except Exception as error:
                self._lost_races += isinstance(error, Restart)
                if keeps_place(error) and races < AGAIN_AT_ONCE:
                    races += 1
                    metrics.RETRIES.labels(retry_reason(error)).inc()
                    await asyncio.sleep(random.uniform(0, 0.005 * 2**races))
                    continue
                if classify(error) is Fault.DATA and not careful:
                    careful = True
                    log.warning("batch_halved", stream=self._spec.name, error=type(error).__name__)
                    continue
                operation.fail(error)
                if not isinstance(error, CursorMoved):
                    self._most = max(1, len(batch) // 2)
                raise
        self._most = min(2 * self._most, self._options.batch_messages)
        self._positions.update(batch.positions)
        self._failures = self._lost_races = 0
        self.moved_at = time.monotonic()
        self._commits += 1
        if self._commits & (self._commits - 1) == 0:
            with postgres.within(connection):
                await postgres.replan(connection)
        _tell(operation, batch, committed)
        if committed.leaves:
            await self._wake()

    async def _probe(self, connection: asyncpg.Connection, created: datetime, batch: Batch[M]) -> None:
        """The breaker is open: try one message. When it passes, everyone goes on."""
        probe = batch.until(lambda _: True)
        tells = any(may_fail(entry) for entry in probe.entries)
        if tells:
            self._breaker.begin_probe(time.monotonic())
        await self._commit(connection, created, probe)
        if tells:
            self._breaker.close()
            self._changed()
        self._in_hand = Batch(batch.entries[len(probe) :])

    async def _try_paused(
        self, connection: asyncpg.Connection, reader: Reader, created: datetime, partition: int
    ) -> None:
        """A paused partition: apply what comes before the next message of the tenant, or that message alone."""
        tenant = self._breaker.tenant_of(partition)
        self._breaker.postpone(partition, time.monotonic())
        await self._assign(reader, [partition])
        try:
            async with asyncio.timeout(READ_SECONDS):
                records = await reader.read(self._options.batch_messages, self._options.batch_bytes)
        except TimeoutError:
            # Gone, as when it was purged or the stream was adopted at its end; or the broker is away, which proves nothing.
            if not await self._log.holds(partition, self._positions[partition]):
                self._breaker.resume(partition)
                self._changed()
            return
        batch = Batch(map(self._decode, records))
        others = batch.before(lambda message: message.tenant == tenant)
        if len(others):
            await self._commit(connection, created, others)
            self._breaker.hurry(partition)
            return
        await self._commit(connection, created, Batch(batch.entries[:1]))
        self._breaker.resume(partition)
        self._changed()

    async def _advance_idle(self, connection: asyncpg.Connection, reader: Reader, created: datetime) -> None:
        """Move cursors of partitions with nothing to read up to where nothing was found."""
        new = {  # what was handed out and is not committed yet lies before where the partition is idle
            p: idle.until
            for p, idle in reader.idle_positions().items()
            if idle.read <= self._positions[p] < idle.until
        }
        if not new or self._in_hand:
            return
        old = {p: self._positions[p] for p in new}
        with postgres.within(connection):
            async with connection.transaction():
                if not await cursors.compare_and_set(connection, self._spec.name, created, old, new):
                    raise CursorMoved
        self._positions.update(new)

    # -- the ways back

    async def _lose_stream(self, error: StreamChanged) -> None:
        if self.problem != str(error):
            log.error("stream_changed", stream=self._spec.name, reason=str(error))
        self.problem = str(error)
        await self._close_reader()
        await self._wait(self._options.changed_seconds, only_for_stop=True)

    async def _back_off(self, error: Exception) -> None:
        self._failures += 1
        metrics.RETRIES.labels(retry_reason(error)).inc()
        seconds = min(5.0, 0.02 * 2 ** min(self._failures, 10)) * random.uniform(0.5, 1)
        log.warning(
            "lane_restarts",
            stream=self._spec.name,
            reason=retry_reason(error),
            error=type(error).__name__,
            seconds=round(seconds, 3),
        )
        if not isinstance(error, CursorMoved) and self._connection is not None:
            self._connection.terminate()
        await self._wait(seconds, only_for_stop=True)

    async def _wait(self, seconds: float, *, only_for_stop: bool = False) -> None:
        """For so long, or until there is something to look at, or until ``stop``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._stopping:
                    await self._attention.wait()
                    if not only_for_stop:
                        return
                    self._attention.clear()

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
            self._commits = 0
        return self._connection

    async def _opened(self, created: datetime) -> Reader:
        """The reader of the stream that the cursors speak of. Raises StreamChanged, OSError."""
        if self._reader is not None and self._reads == created:
            return self._reader
        await self._close_reader()
        check_stream(
            self._spec.name, await self._log.state(), created, max(self._positions.values(), default=0)
        )
        self._reader = await self._log.reader(created)
        self._reads = created
        self.problem = None
        return self._reader

    async def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()

    async def _close(self) -> None:
        self.held = frozenset()
        await self._close_reader()
        if self._connection is not None:
            with contextlib.suppress(Exception):
                await self._connection.close(timeout=2)


def _common(batch: Batch[M]) -> dict[str, Any]:
    """What can be said of the batch as a whole: whose it is, or of how many."""
    fields = whose({entry.tenant for entry in batch.entries})
    if len(batch) == 1 and (messages := batch.messages()):
        fields["correlation_id"] = messages[0].correlation_id or messages[0].id
    return fields


def _tell(operation: Operation, batch: Batch[M], committed: Committed) -> None:
    """END of the batch, and a line for each message where anyone listens."""
    if log.is_enabled_for(logging.DEBUG):
        for entry, outcome in zip(batch.entries, committed.outcomes, strict=True):
            log.debug(
                "message",
                **_about(entry),
                outcome=outcome.status,
                code=outcome.code,
                contact_id=outcome.contact_id,
            )
    fields: dict[str, Any] = dict(Counter(outcome.status for outcome in committed.outcomes))
    if len(committed.outcomes) == 1:
        fields["contact_id"] = committed.outcomes[0].contact_id
    operation.end(**fields)


def _about(entry: Message | Unread) -> dict[str, Any]:
    fields = {"tenant": entry.tenant, "partition": entry.record.partition, "sequence": entry.record.sequence}
    if isinstance(entry, Unread):
        return {"operation": entry.record.subject, **fields}
    return {"operation": entry.kind, "correlation_id": entry.correlation_id or entry.id, **fields}
