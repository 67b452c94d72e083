"""A log in memory, for tests of what is built on readers. It keeps the same promises as the NATS log."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime

from contracts.subjects import STRAY, StreamSpec
from workers.engine.log import StreamState, check_stream
from workers.engine.record import Idle, Lag, Record, lag_of


class MemoryLog:
    """A ``Log``: one sequence over all partitions, as a stream has it."""

    def __init__(self, spec: StreamSpec) -> None:
        self._spec = spec
        self._readers: list[MemoryReader] = []
        self.name = spec.name
        self.created = datetime.now(UTC)
        self.records: dict[int, list[Record]] = {}
        self.last_sequence = 0
        self.first_sequence = 1

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> int:
        """Store a message and return its sequence. The last two tokens of its subject decide the partition."""
        self.last_sequence += 1
        tokens = subject.split(".")
        partition = STRAY
        if len(tokens) == self._spec.tokens + 1:
            partition = zlib.crc32(".".join(tokens[-2:]).encode()) % self._spec.partitions
        record = Record(
            self._spec.name,
            partition,
            self.last_sequence,
            subject,
            dict(headers or {}),
            data,
            datetime.now(UTC),
        )
        self.records.setdefault(partition, []).append(record)
        self._wake()
        return self.last_sequence

    def make_anew(self) -> None:
        """What deleting a stream and declaring it again comes to."""
        self.created = datetime.now(UTC)
        self.records.clear()
        self.last_sequence, self.first_sequence = 0, 1
        self._wake()

    def purge(self, first: int) -> None:
        """Keep what begins at this sequence."""
        self.first_sequence = first
        for partition, records in self.records.items():
            self.records[partition] = [record for record in records if record.sequence >= first]

    def _wake(self) -> None:
        for reader in self._readers:
            reader.arrived.set()

    def forget(self, reader: MemoryReader) -> None:
        self._readers.remove(reader)

    async def state(self) -> StreamState:
        return self.now

    async def holds(self, partition: int, position: int) -> bool:
        return any(record.sequence > position for record in self.records.get(partition, []))

    @property
    def now(self) -> StreamState:
        return StreamState(self.created, self.last_sequence, self.first_sequence)

    async def reader(self, created: datetime) -> MemoryReader:
        reader = MemoryReader(self, created)
        self._readers.append(reader)
        return reader

    async def close(self) -> None:
        """Nothing to let go of: what is in memory stays for the next one."""


class MemoryReader:
    """A ``Reader`` of a MemoryLog."""

    def __init__(self, log: MemoryLog, created: datetime) -> None:
        self._log = log
        self._created = created
        self._positions: dict[int, int] = {}
        self.arrived = asyncio.Event()

    async def assign(self, positions: Mapping[int, int]) -> None:
        self._positions = dict(positions)
        self.arrived.set()

    async def read(self, max_records: int, max_bytes: int) -> list[Record]:
        while True:
            check_stream(
                self._log.name,
                self._log.now,
                self._created,
                max(self._positions.values(), default=0),
            )
            records = self._take(max_records, max_bytes)
            if records:
                return records
            self.arrived.clear()
            await self.arrived.wait()

    def _take(self, max_records: int, max_bytes: int) -> list[Record]:
        """One record a partition in turn; whoever was served last comes last the next time."""
        records: list[Record] = []
        waiting = {p: self._waiting(p) for p in self._positions}
        while any(waiting.values()):
            for partition in list(self._positions):
                if not waiting[partition]:
                    continue
                record = waiting[partition][0]
                if records and (len(records) >= max_records or len(record.data) > max_bytes):
                    return records
                waiting[partition].pop(0)
                records.append(record)
                max_bytes -= len(record.data)
                del self._positions[partition]
                self._positions[partition] = record.sequence
        return records

    def _waiting(self, partition: int) -> list[Record]:
        position = self._positions[partition]
        return [record for record in self._log.records.get(partition, []) if record.sequence > position]

    def idle_positions(self) -> dict[int, Idle]:
        end = self._log.last_sequence
        return {
            p: Idle(position, end)
            for p, position in self._positions.items()
            if end > position and not self._waiting(p)
        }

    async def lag(self) -> Lag:
        return lag_of(record for p in self._positions for record in self._waiting(p))

    async def close(self) -> None:
        self._positions.clear()
        self._log.forget(self)
