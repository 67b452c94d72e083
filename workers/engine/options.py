"""What an operator, or a test, may choose about the engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """Sizes in messages and bytes, times in seconds."""

    instance: str  # unique among the instances of a worker; leases are held under this name
    lanes: int = 2
    batch_messages: int = 500
    # Parsed JSON takes several times the room of its text, and each lane has a batch in hand and the next one.
    batch_bytes: int = 2 << 20
    batch_seconds: float = 60  # a transaction that takes longer is given up
    lease_seconds: float = 10
    stall_seconds: float = 30
    probe_seconds: float = 30
    survey_seconds: float = 5  # between two looks at the lag and at idle partitions
    changed_seconds: float = 2  # between two looks at a stream that is not the one it was
