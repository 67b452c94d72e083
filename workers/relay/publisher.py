"""Publishing the shards of the outbox, each behind its marker.

Invariant: rows are read only while the shard is settled, that is, while the marker that the next batch will expect is
the database's too; so what an earlier batch published is marked before anything is read, by whomever it was published.
A shard is unsettled by whatever goes wrong, and by being in flight; settling is the only way back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import asyncpg
import orjson
from nats.aio.client import Client

from contracts.subjects import EVENTS, relay_marker
from ops import failpoint, metrics
from ops.logging import Operation, get_logger, whose
from storage import outbox
from storage.outbox import Marker, Move, Row
from workers.jetstream import NoAnswer, Refused
from workers.relay import marker
from workers.relay.atomic_batch import (
    DUPLICATE,
    HEADER_ROOM,
    MAX_MESSAGES,
    WRONG_SEQUENCE,
    Line,
    Mark,
    publish_batch,
    publish_mark,
    publish_singly,
    send,
)

FEW = 8  # events that leave singly: a batch costs the broker as much as this many
READ_ROWS = 512
READ_BYTES = 4_000_000
BATCH_SECONDS = 5.0  # until an unanswered batch counts as unknown

log = get_logger("workers.relay.publisher")


class Pack(NamedTuple):
    """Rows that leave together, in id order, by shard."""

    rows: dict[int, list[Row]]
    events: int

    def every_row(self) -> list[Row]:
        return [row for rows in self.rows.values() for row in rows]


def pack(rows: Iterable[Row]) -> Pack:
    """As many of the rows as fit one batch with their shards' markers, the first at least; none is overtaken."""
    packed: dict[int, list[Row]] = {}
    events = 0
    for row in rows:
        markers = len(packed.keys() | {row.shard})
        if packed and events + row.event_count + markers > MAX_MESSAGES:
            break
        packed.setdefault(row.shard, []).append(row)
        events += row.event_count
    return Pack(packed, events)


class Publisher:
    """Publishes through one connection to the broker. The connection to the database is the caller's."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._settled: dict[int, Marker] = {}

    def forget(self, keep: Iterable[int] = ()) -> None:
        """Unsettle every shard but these."""
        kept = frozenset(keep)
        self._settled = {shard: found for shard, found in self._settled.items() if shard in kept}

    async def check(self) -> None:
        """Unsettle every shard whose stream is not what it was. Raises Refused and NoAnswer."""
        held = await marker.log(self._client)
        for shard, known in list(self._settled.items()):
            if known.stream_created != held.created or known.sequence > held.last:
                del self._settled[shard]

    async def settle(self, connection: asyncpg.Connection, shard: int) -> bool:
        """Bring broker and database to one marker; False when someone else moved the shard meanwhile: try again.

        The database is asked first: a marker that others add meanwhile is then newer, and cannot look like a loss.
        """
        if shard in self._settled:
            return True
        known = await outbox.recorded(connection, shard)
        held = await marker.log(self._client)
        found = await marker.find(self._client, shard)
        if held.created != (await marker.log(self._client)).created:
            return False
        if known is None:
            known = Marker(held.created, 0)
            if not await outbox.begin(connection, shard, known):
                return False
        now = Marker(held.created, found.sequence)
        reached = 0
        same = held.created == known.stream_created
        if same and found.since is not None and found.sequence > known.sequence:
            try:
                found, reached = await self._complete(connection, shard, found)
            except Refused as refusal:
                if refusal.code == WRONG_SEQUENCE:
                    return False
                raise
            now = now._replace(sequence=found.sequence)
        lost = same and (
            found.sequence < known.sequence or await outbox.reached(connection, shard) > held.last
        )
        if lost and found.since is not None and found.sequence <= known.sequence:
            # What is there of the rows of this intent is looked up, as if nobody had: settled from the marker before it.
            now = now._replace(sequence=found.since)
        move = Move(shard, known, now, max(reached, now.sequence))
        if (now != known or lost) and not await self._catch_up(connection, move, held.first, found):
            return False
        if now.sequence < found.sequence:
            return await self.settle(connection, shard)
        self._settled[shard] = now
        return True

    async def _complete(
        self, connection: asyncpg.Connection, shard: int, found: marker.Found
    ) -> tuple[marker.Found, int]:
        """Publish what is missing of the events that somebody intended. Returns the marker now, and where they end.

        A marker of our own first: whoever intended them may be asleep, and is refused from here on.
        """
        mark = Mark(relay_marker(shard), marker.body(found.rows, found.since), found.sequence)
        sequence = await publish_mark(self._client, mark)
        lines = [line for row in await outbox.named(connection, found.rows) for line in self._lines(row)]
        there = 0  # they were published one after the other: a stored one has those before it stored as well
        for n, line in enumerate(lines, 1):
            if (
                await marker.last_id(self._client, line.subject.decode(), found.since or 0)
                == line.id.decode()
            ):
                there = n
        await publish_singly(self._client, lines[there:], mark._replace(expected=sequence))
        return found._replace(sequence=sequence), (await marker.log(self._client)).last

    async def _catch_up(
        self, connection: asyncpg.Connection, move: Move, first: int, found: marker.Found
    ) -> bool:
        same = move.known.stream_created == move.now.stream_created
        # The marker was older than max_age.
        aged = same and not found.sequence and first > move.known.sequence
        if same and (aged or found.sequence > move.known.sequence):
            waiting = await outbox.named(connection, found.rows)
            await self._reply(waiting)
            return bool(await outbox.advance(connection, [move], [row.name for row in waiting]))
        lost = await outbox.refill(connection, move, after=found.sequence if same else 0)
        if lost is not None:
            made = move.now.stream_created  # the shards that were settled with the old stream lost theirs too
            self.forget(keep=[s for s, m in self._settled.items() if m.stream_created == made])
            log.error(
                "the broker lost what it had acknowledged" if same else "the stream was made anew",
                stream=EVENTS.name,
                shard=move.shard,
                recorded=move.known.sequence,
                found=found.sequence,
                rows_again=lost,
            )
        return lost is not None

    async def publish(self, connection: asyncpg.Connection, shards: Iterable[int]) -> int:
        """Publish the oldest rows of the settled shards as one batch, and mark them. Returns how many were found.

        Raises Refused and NoAnswer. That another relay was first is neither: the shards are unsettled, and that is all.
        """
        ours = sorted(self._settled.keys() & frozenset(shards))
        found = (
            await outbox.unpublished(connection, ours, READ_ROWS, MAX_MESSAGES, READ_BYTES) if ours else []
        )
        if not found:
            return 0
        packed = pack(found)
        rows = packed.every_row()
        lines = {
            shard: [line for row in of for line in self._lines(row)] for shard, of in packed.rows.items()
        }
        tenants = {line.tenant for of in lines.values() for line in of}
        operation = Operation(log, "relay", rows=len(rows), shards=sorted(packed.rows), **whose(tenants))
        known = {shard: self._settled.pop(shard) for shard in packed.rows}
        try:
            moves = await self._send(packed, lines, known)
        except (Refused, NoAnswer) as error:
            operation.fail(error)
            if isinstance(error, Refused) and error.code == WRONG_SEQUENCE:
                return len(found)  # another relay has published; settling shows what
            raise
        replies = await self._reply(rows)
        operation.publish(
            events=packed.events, replies=replies, sequences={move.shard: move.now.sequence for move in moves}
        )
        failpoint.hit("between_publish_and_mark")
        await self._mark(connection, packed, moves)
        metrics.PUBLISHED.labels("event").inc(packed.events)
        operation.end()
        return len(found)

    async def _send(
        self, packed: Pack, lines: Mapping[int, Sequence[Line]], known: Mapping[int, Marker]
    ) -> list[Move]:
        """Publish the events, and the markers of their shards. A shard that has only replies keeps its marker."""
        if 0 < packed.events <= FEW:
            return await self._send_few(packed, lines, known)
        marks = {
            shard: Mark(relay_marker(shard), marker.body([r.name for r in rows]), known[shard].sequence)
            for shard, rows in packed.rows.items()
            if lines[shard]
        }
        sequences = {shard: found.sequence for shard, found in known.items()}
        if marks:
            last = await self._publish(lines, marks)
            sequences |= zip(marks, range(last - len(marks) + 1, last + 1), strict=True)
        return [
            Move(shard, was, was._replace(sequence=sequences[shard]), sequences[shard])
            for shard, was in known.items()
        ]

    async def _send_few(
        self, packed: Pack, lines: Mapping[int, Sequence[Line]], known: Mapping[int, Marker]
    ) -> list[Move]:
        """Publish a few events singly, each shard's behind a marker that says which: far sooner there than as a batch."""

        async def send_shard(shard: int, was: Marker) -> Move:
            if not lines[shard]:
                return Move(shard, was, was, was.sequence)
            names = [row.name for row in packed.rows[shard]]
            mark = Mark(relay_marker(shard), marker.body(names, was.sequence), was.sequence)
            sequence = await publish_mark(self._client, mark)
            failpoint.hit("after_intent")
            reached = await publish_singly(self._client, lines[shard], mark._replace(expected=sequence))
            return Move(shard, was, was._replace(sequence=sequence), reached)

        sent = await asyncio.gather(*(send_shard(*one) for one in known.items()), return_exceptions=True)
        for outcome in sent:
            if isinstance(outcome, BaseException):
                raise outcome
        return [move for move in sent if isinstance(move, Move)]

    async def _publish(self, lines: Mapping[int, Sequence[Line]], marks: Mapping[int, Mark]) -> int:
        """The sequence of the last marker; they lie together, in the order given."""
        every = [line for shard in marks for line in lines[shard]]
        last = list(marks.values())
        try:
            return await publish_batch(self._client, every, last, BATCH_SECONDS)
        except Refused as refusal:
            if refusal.code != DUPLICATE:
                raise
        # One id that the broker remembers refuses the whole batch. Singly, those count as published.
        log.warning("duplicate ids in a batch; publishing singly", events=len(every))
        for shard, mark in marks.items():
            await publish_singly(self._client, lines[shard], mark)
        return await publish_batch(self._client, [], last, BATCH_SECONDS)

    def _lines(self, row: Row) -> list[Line]:
        return [self._line(framed) for framed in row.events.split(b"\n")] if row.events else []

    def _line(self, framed: bytes) -> Line:
        line = Line(*framed.split(b" ", 2))
        if len(line.payload) + HEADER_ROOM > self._client.max_payload:
            log.error(
                "an event is larger than the broker takes; its facts are left out",
                subject=line.subject.decode(),
                id=line.id.decode(),
                bytes=len(line.payload),
            )
            return line._replace(payload=cut(line.payload))
        return line

    async def _reply(self, rows: Sequence[Row]) -> int:
        """Send the rows' replies. Before the rows are marked, so that none is lost; their ids tell repeats."""
        lines = [line for row in rows if row.replies for line in row.replies.split(b"\n")]
        if lines:
            await send(self._client, [self._fitting(line) for line in lines])
            metrics.PUBLISHED.labels("result").inc(len(lines))
        return len(lines)

    def _fitting(self, framed: bytes) -> tuple[bytes, bytes]:
        subject, payload = framed.split(b" ", 1)
        too_large = len(payload) + HEADER_ROOM > self._client.max_payload
        return subject, cut(payload) if too_large else payload

    async def _mark(self, connection: asyncpg.Connection, packed: Pack, moves: Sequence[Move]) -> None:
        """Settle what was sent: rows with their markers, and rows that hold replies only."""
        moving = {move.shard: move for move in moves if move.now != move.known}
        if moving:
            rows = [row.name for shard in moving for row in packed.rows[shard]]
            moved = await outbox.advance(connection, list(moving.values()), rows)
            self._settled |= {shard: moving[shard].now for shard in moved}
        still = [move for move in moves if move.shard not in moving]
        if still:
            ids = [row.id for move in still for row in packed.rows[move.shard]]
            await outbox.mark_replied(connection, ids)
            self._settled |= {move.shard: move.known for move in still}


def cut(payload: bytes) -> bytes:
    """A CloudEvent without its facts: what is left says whom it concerns, and that it was truncated."""
    event = orjson.loads(payload)
    data = event.get("data")
    kept = {
        name: data[name]
        for name in ("id", "contact_id", "version", "status")
        if isinstance(data, dict) and name in data
    }
    event["data"] = {**kept, "truncated": True}
    return orjson.dumps(event)
