"""Reads a partitioned JetStream stream: one ephemeral consumer a partition, one subscription for all of them.

Nothing is acknowledged; the cursors in the database are the only truth of what was applied. A consumer can lose messages
without a word (a cut connection, a leader that moved), so its own sequence must rise by exactly one; where it does not,
where the broker falls silent, or where the consumer has gone, the partition is read again from the last message handed out.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime

from nats.aio.subscription import Subscription

from contracts.subjects import StreamSpec, split_partition
from ops import metrics
from ops.logging import get_logger
from workers.engine import jetstream, wire
from workers.engine.feed import HEARTBEAT_SECONDS, Feed, Frame, Heard, Pull
from workers.engine.log import StreamState, check_stream
from workers.engine.record import Idle, Lag, Record, StreamChanged, lag_of, total
from workers.engine.wire import LogClient

BUFFER_BYTES = 8 << 20  # of one reader, over all its partitions
LEAST_WINDOW, MOST_WINDOW = 128 << 10, 1 << 20  # bytes of one partition
OVERSIZED_PULLS = 2  # messages larger than a window that may be under way at once
FILL_SECONDS = 0.02

log = get_logger("workers.engine.nats")


class NatsReader:
    """A ``Reader`` of one stream; several share a connection."""

    def __init__(self, client: LogClient, spec: StreamSpec, created: datetime) -> None:
        self._client = client
        self._spec = spec
        self._created = created
        self._inbox = client.new_inbox()
        self._name = secrets.token_hex(5)
        self._consumers_made = 0
        self._subscription: Subscription | None = None
        self._mender: asyncio.Task[None] | None = None
        self._feeds: dict[int, Feed] = {}
        self._by_consumer: dict[bytes, Feed] = {}
        self._ready: deque[Feed] = deque()  # feeds with something buffered, each once
        self._arrived = asyncio.Event()
        self._broken = asyncio.Event()
        self._ended: deque[Feed] = deque()  # feeds whose pull has ended
        self._failure: Exception | None = None
        self._taken: list[Record] = []  # by a read that has not returned, perhaps never did
        self._failures = 0  # in a row, to make consumers
        self._unmade = "its consumers are being made"  # why a feed has none
        self._reasons: set[str] = set()  # why feeds have broken since the log last said so
        self.closed = False

    @property
    def client(self) -> LogClient:
        return self._client

    async def open(self) -> None:
        self._subscription = await self._client.subscribe(f"{self._inbox}.*")
        self._client.route(self._subscription, self._receive)
        self._mender = asyncio.create_task(self._mend(), name=f"mender {self._spec.name}")

    async def close(self) -> None:
        self.closed = True
        if self._mender is not None:
            self._mender.cancel()
            await asyncio.gather(self._mender, return_exceptions=True)
        if self._subscription is not None:
            self._client.unroute(self._subscription)
            with contextlib.suppress(Exception):
                await self._delete(self._drop(self._feeds.values()))
                await self._subscription.unsubscribe()

    # -- the assignment

    async def assign(self, positions: Mapping[int, int]) -> None:
        gone = [
            feed for p, feed in self._feeds.items() if p not in positions or feed.position != positions[p]
        ]
        doomed = self._drop(gone)
        for feed in gone:
            del self._feeds[feed.partition]
        for partition, position in positions.items():
            if partition not in self._feeds:
                self._feeds[partition] = Feed(partition, position)
        self._taken = []
        self._broken.set()
        await self._delete(doomed)

    def disconnected(self) -> None:
        """What was asked for may have been sent into the void."""
        self._break([feed for feed in self._feeds.values() if feed.consumer is not None], "disconnected")

    def fail(self, error: Exception) -> None:
        """Let whoever reads see an error that this reader will not get over."""
        self._failure = error
        self._arrived.set()

    # -- reading

    async def read(self, max_records: int, max_bytes: int) -> list[Record]:
        records = self._taken = []
        room = max_bytes
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        while True:
            if self._failure is not None:
                raise self._failure
            room, full = self._take(records, max_records, room)
            await self._pull_more()
            if records:
                if full or not self._more_comes():
                    break
                deadline = deadline or loop.time() + FILL_SECONDS
                if loop.time() >= deadline:
                    break
            self._arrived.clear()
            await _wait(self._arrived, deadline)
        self._taken = []
        return records

    def _take(self, records: list[Record], max_records: int, room: int) -> tuple[int, bool]:
        """Move buffered messages to the records, in turn. Returns the bytes left, and whether the batch is full."""
        while self._ready:
            share = max(1, (max_records - len(records)) // len(self._ready))
            feed = self._ready[0]
            for _ in range(min(share, len(feed.buffer))):
                size = len(feed.buffer[0].data)
                if records and (size > room or len(records) >= max_records):
                    self._ended.append(feed)
                    self._ready.rotate(-1)
                    return room, True
                records.append(self._record(feed.partition, feed.take()))
                room -= size
            self._ended.append(feed)
            self._ready.rotate(-1)
            if not feed.buffer:
                self._ready.pop()
        return room, len(records) >= max_records

    def _more_comes(self) -> bool:
        return any(feed.pending and feed.left for feed in self._feeds.values())

    def _record(self, partition: int, frame: Frame) -> Record:
        return Record(
            self._spec.name,
            partition,
            frame.sequence,
            split_partition(frame.subject.decode("utf-8", "replace"))[0],
            wire.parse_headers(frame.headers),
            frame.data,
            wire.parse_time(frame.nanoseconds),
        )

    def _receive(self, _subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        """The sink of every frame. Runs in the client's read loop: short, and never raises."""
        if not reply.startswith(wire.ACK_PREFIX):
            self._hear(_subject.rpartition(b".")[2], headers)
            return
        try:
            delivery = wire.parse_delivery(reply)
        except ValueError:
            return
        feed = self._by_consumer.get(delivery.consumer)
        if feed is None:
            return
        frame = Frame(delivery.sequence, delivery.nanoseconds, _subject, headers, data)
        if not feed.arrived(delivery, frame):
            self._break([feed], "gap")
            return
        if len(feed.buffer) == 1:
            self._ready.append(feed)
        self._arrived.set()

    def _hear(self, consumer: bytes, headers: bytes | None) -> None:
        feed = self._by_consumer.get(consumer)
        if feed is None:
            return
        status = wire.parse_status(headers)
        heard = feed.told(status)
        if heard is Heard.BROKEN:
            self._break([feed], f"status_{status.code}")
        elif heard is Heard.PULL_ENDED:
            self._ended.append(feed)
            self._broken.set()  # the mender pulls, where nobody reads just now

    # -- pulling

    def _window(self) -> int:
        return max(LEAST_WINDOW, min(MOST_WINDOW, BUFFER_BYTES // max(1, len(self._feeds))))

    async def _pull_more(self) -> None:
        """Ask for more where there is room again."""
        window = self._window()
        waiting: list[Feed] = []
        try:
            while self._ended:
                feed = self._ended.popleft()
                pull = feed.next_pull(window)
                if pull is None:
                    continue
                if not pull.max_bytes and self._oversized() >= OVERSIZED_PULLS:
                    waiting.append(feed)
                    continue
                await self._pull(feed, pull)
        finally:  # whoever reads may be cancelled here, and nobody would ask for these again
            self._ended.extend(waiting)

    def _oversized(self) -> int:
        """How many feeds have, or may get, a message larger than a window."""
        return sum(1 for feed in self._feeds.values() if feed.oversized and (feed.left or feed.buffer))

    async def _pull(self, feed: Feed, pull: Pull) -> None:
        assert feed.consumer is not None
        consumer = feed.consumer.decode()
        feed.pulled(pull)
        # A pull that cannot be sent is a broken connection, which breaks every feed by itself.
        with contextlib.suppress(Exception):
            await jetstream.send_pull(
                self._client, self._spec.name, consumer, pull, f"{self._inbox}.{consumer}"
            )

    # -- mending

    def _drop(self, feeds: Iterable[Feed]) -> list[bytes]:
        """Forget what these feeds have not handed out. Returns their consumers."""
        doomed = [consumer for feed in feeds if (consumer := feed.drop()) is not None]
        for consumer in doomed:
            self._by_consumer.pop(consumer, None)
        self._ready = deque(feed for feed in self._ready if feed.buffer)
        return doomed

    def _break(self, feeds: list[Feed], reason: str) -> None:
        if not feeds:
            return
        self._drop(feeds)
        metrics.READER_RESTARTS.labels(self._spec.name, reason).inc(len(feeds))
        self._reasons.add(reason)
        self._broken.set()

    async def _mend(self) -> None:
        """Gives every feed without a consumer a new one, and looks whether the others are alive."""
        try:
            loop = asyncio.get_running_loop()
            next_sweep = loop.time() + HEARTBEAT_SECONDS
            while True:
                await _wait(self._broken, next_sweep)
                self._broken.clear()
                if loop.time() >= next_sweep:
                    next_sweep = loop.time() + HEARTBEAT_SECONDS
                    self._break([feed for feed in self._feeds.values() if not feed.sweep()], "silent")
                await self._begin_broken()
                await self._pull_more()
        except Exception as error:  # noqa: BLE001 - whoever reads gets to see it
            self.fail(error)

    async def _begin_broken(self) -> None:
        broken = [feed for feed in self._feeds.values() if feed.consumer is None]
        if not broken:
            return
        await self._client.online.wait()
        if self._reasons:
            log.warning(
                "reader_restarts",
                stream=self._spec.name,
                reasons=sorted(self._reasons),
                partitions=len(broken),
            )
            self._reasons.clear()
        try:
            await self._begin(broken)
            self._failures = 0
        except OSError as error:
            self._failures += 1
            self._unmade = str(error)
            log.warning("reader_waits", stream=self._spec.name, error=str(error), attempt=self._failures)
            self._broken.set()
        # Also after a success: consumers that vanish as soon as they are made must not keep anyone busy.
        await asyncio.sleep(min(2.0, 0.02 * 2**self._failures) * random.uniform(0.5, 1))

    async def _begin(self, feeds: list[Feed]) -> None:
        """New consumers for these feeds. Raises StreamChanged, OSError."""
        starts = [feed.position for feed in feeds]
        made = await asyncio.gather(*(self._create(feed) for feed in feeds), return_exceptions=True)
        # Asked after the consumers were made: they belong to the stream that is now, and go with it.
        try:
            for answer in made:
                if isinstance(answer, BaseException):
                    raise answer
            await self._check(max(starts))
        except BaseException:
            await self._delete([answer[0] for answer in made if not isinstance(answer, BaseException)])
            raise
        unwanted = []
        for feed, start, answer in zip(feeds, starts, made, strict=True):
            assert not isinstance(answer, BaseException)
            consumer, pending = answer
            if self._feeds.get(feed.partition) is not feed or feed.position != start:
                unwanted.append(consumer)
                continue
            feed.begin(consumer, pending)
            self._by_consumer[consumer] = feed
            self._ended.append(feed)
        await self._delete(unwanted)

    async def _create(self, feed: Feed) -> tuple[bytes, int]:
        self._consumers_made += 1
        name = f"{self._name}-{self._consumers_made}"
        pending = await jetstream.create_consumer(
            self._client, self._spec, name, feed.partition, feed.position
        )
        return name.encode(), pending

    async def _check(self, position: int) -> StreamState:
        """That the stream is still the one that the cursors speak of. Raises StreamChanged, OSError."""
        state = await jetstream.read_state(self._client, self._spec.name)
        check_stream(self._spec.name, state, self._created, position)
        return state

    async def _delete(self, consumers: Iterable[bytes]) -> None:
        """Tell the broker, and do not wait: it removes them by itself in the end."""
        with contextlib.suppress(Exception):
            for consumer in consumers:
                await jetstream.send_delete(
                    self._client, self._spec.name, consumer.decode(), f"{self._inbox}.deleted"
                )

    # -- how far

    def idle_positions(self) -> dict[int, Idle]:
        return {
            p: Idle(feed.position, feed.idle)
            for p, feed in self._feeds.items()
            if feed.idles and feed.idle > feed.position
        }

    async def lag(self) -> Lag:
        """Asks the broker; also finds the partitions that have nothing up to the stream's present end."""
        await self._survey()
        busy = [feed for feed in self._feeds.values() if feed.consumer is not None and not feed.idles]
        await asyncio.gather(*(self._count_pending(feed) for feed in busy), return_exceptions=True)
        firsts = await self._firsts()
        return total([lag_of(self._taken), *(self._lag_of(feed, firsts) for feed in self._feeds.values())])

    def _lag_of(self, feed: Feed, firsts: Mapping[Feed, datetime]) -> Lag:
        first = wire.parse_time(feed.buffer[0].nanoseconds) if feed.buffer else firsts.get(feed)
        messages = max(feed.pending + len(feed.buffer), int(feed in firsts))
        return Lag(messages, first if messages else None, None if feed.consumer else self._unmade)

    async def _firsts(self) -> dict[Feed, datetime]:
        """When the first message was stored of each feed that has some and has buffered none, as far as can be known."""
        if not self._client.online.is_set():
            return {}
        hidden = [
            feed for feed in self._feeds.values() if not feed.buffer and (feed.pending or not feed.consumer)
        ]
        asked = [
            jetstream.next_stored(self._client, self._spec, feed.partition, feed.position) for feed in hidden
        ]
        found = await asyncio.gather(*asked, return_exceptions=True)
        return {feed: at for feed, at in zip(hidden, found, strict=True) if isinstance(at, datetime)}

    async def _count_pending(self, feed: Feed) -> None:
        assert feed.consumer is not None
        consumer = feed.consumer
        pending = await jetstream.pending(self._client, self._spec, consumer.decode())
        if feed.consumer != consumer:
            return
        if pending is None:
            self._break([feed], "consumer_gone")
        else:
            feed.pending = pending

    async def _survey(self) -> None:
        """Where partitions with nothing to read end. The store is asked: a consumer's counters lag behind it."""
        idle = [feed for feed in self._feeds.values() if feed.idles]
        if not idle:
            return
        try:
            end = (await self._check(0)).last_sequence
            await asyncio.gather(
                *(self._find_idle(feed, end) for feed in idle if end > max(feed.idle, feed.position))
            )
        except (StreamChanged, OSError):
            return  # the mender meets it too, and acts

    async def _find_idle(self, feed: Feed, end: int) -> None:
        if await jetstream.next_stored(self._client, self._spec, feed.partition, feed.position) is None:
            feed.idle = max(feed.idle, end)


async def _wait(event: asyncio.Event, deadline: float | None) -> None:
    """Until the event is set, or the loop's clock reads the deadline."""
    if deadline is None:
        await event.wait()
        return
    handle = asyncio.get_running_loop().call_at(deadline, event.set)
    try:
        await event.wait()
    finally:
        handle.cancel()
