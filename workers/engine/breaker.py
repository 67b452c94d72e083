"""When handlers fail on everything, the worker stops instead of dead-lettering the world. Pure: time is passed in.

Only handler failures count; undecodable input says nothing about the handlers. The question is asked before a batch
commits, so the batch that opens the breaker keeps its messages:

- failures dominate the last hundred messages, and come from two or more tenants: **open**. Nothing is applied; one
  message is tried every ``probe_seconds`` until it passes.
- one tenant alone fails: the partitions that hold its messages are **paused**, each tried with one message of that
  tenant in the same rhythm. Everyone else goes on.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

MINIMUM = 100  # messages; fewer prove nothing
REMEMBERED = 1000  # messages that a tenant's own share is looked for in


class Sample(NamedTuple):
    """One message that a handler has seen."""

    partition: int
    tenant: str
    failed: bool


class Pause(NamedTuple):
    """A partition that waits because of this tenant, and when it is tried next."""

    tenant: str
    next_probe: float


class Held(Exception):
    """A batch that must not commit: the breaker has opened, or has paused some of its partitions."""


class Breaker:
    """The state of one worker: shared by its lanes."""

    def __init__(self, probe_seconds: float = 30) -> None:
        self._probe_seconds = probe_seconds
        self._passed: deque[Sample] = deque(maxlen=REMEMBERED)
        self._next_probe: float | None = None
        self._paused: dict[int, Pause] = {}

    @property
    def open(self) -> bool:
        return self._next_probe is not None

    @property
    def paused(self) -> Collection[int]:
        return self._paused.keys()

    def tenant_of(self, partition: int) -> str | None:
        """The tenant that a partition is paused for."""
        pause = self._paused.get(partition)
        return None if pause is None else pause.tenant

    def judge(self, samples: Sequence[Sample], now: float) -> None:
        """Raises Held, and changes state, when these messages must not be committed."""
        failed = [sample for sample in samples if sample.failed]
        if not failed:
            return
        if self.open:
            raise Held("handlers still fail")
        seen = [*self._passed, *samples]
        if _failing_tenants(seen[-max(MINIMUM, len(samples)) :]) > 1:
            self._next_probe = now + self._probe_seconds
            raise Held("handlers fail for several tenants")
        known = {pause.tenant for pause in self._paused.values()}
        failing = {
            tenant
            for tenant in {sample.tenant for sample in failed}
            if tenant in known or _tenant_fails(seen, samples, tenant)
        }
        held = {
            sample.partition: Pause(sample.tenant, now + self._probe_seconds)
            for sample in failed
            if sample.tenant in failing
        }
        if held:
            self._paused.update(held)
            raise Held("handlers fail for one tenant")

    def committed(self, samples: Sequence[Sample]) -> None:
        """Remember messages whose outcome is committed."""
        self._passed.extend(samples)

    def seconds_to_probe(self, now: float) -> float:
        """How long until one message may be tried; 0 when it may be tried now, or when the breaker is not open."""
        return 0.0 if self._next_probe is None else max(0.0, self._next_probe - now)

    def begin_probe(self, now: float) -> None:
        """Someone tries a message: nobody else does for a while."""
        if self._next_probe is not None:
            self._next_probe = now + self._probe_seconds

    def close(self) -> None:
        """A message has passed."""
        self._next_probe = None
        self._passed.clear()

    def due(self, partitions: Iterable[int], now: float) -> list[int]:
        """Those of the partitions that are paused and may be tried now."""
        return [p for p in partitions if p in self._paused and self._paused[p].next_probe <= now]

    def seconds_to_due(self, partitions: Iterable[int], now: float) -> float:
        """How long until the first of these partitions may be tried; infinite when none of them is paused."""
        times = (self._paused[p].next_probe for p in partitions if p in self._paused)
        return max(0.0, min(times, default=float("inf")) - now)

    def postpone(self, partition: int, now: float) -> None:
        """A paused partition was tried in vain."""
        self._paused[partition] = self._paused[partition]._replace(next_probe=now + self._probe_seconds)

    def hurry(self, partition: int) -> None:
        """Messages of others have passed in a paused partition: what follows may be tried at once."""
        self._paused[partition] = self._paused[partition]._replace(next_probe=0.0)

    def resume(self, partition: int) -> None:
        """A message of the tenant has passed, or the partition belongs to another instance now."""
        pause = self._paused.pop(partition, None)
        if pause is not None and not any(p.tenant == pause.tenant for p in self._paused.values()):
            kept = [sample for sample in self._passed if sample.tenant != pause.tenant]
            self._passed = deque(kept, maxlen=REMEMBERED)

    def problem(self) -> str | None:
        """Why nothing is applied, for an operator."""
        if not self.open:
            return None
        return (
            "handlers fail on most messages of several tenants: the worker has stopped, its position is kept, and one"
            f" message is tried every {self._probe_seconds:g} s"
        )

    def pauses(self) -> list[str]:
        """What waits while the rest goes on, for an operator: one sentence a tenant."""
        by_tenant: dict[str, list[int]] = {}
        for partition, pause in sorted(self._paused.items()):
            by_tenant.setdefault(pause.tenant, []).append(partition)
        return [
            f"handlers fail on messages of tenant {tenant}: partitions {', '.join(map(str, partitions))} are paused,"
            f" and one message is tried every {self._probe_seconds:g} s"
            for tenant, partitions in by_tenant.items()
        ]


def _failing_tenants(recent: Sequence[Sample]) -> int:
    """How many tenants fail with most of their messages, if failures dominate at all."""
    if not _dominate(recent):
        return 0
    total = Counter(sample.tenant for sample in recent)
    failed = Counter(sample.tenant for sample in recent if sample.failed)
    return sum(1 for tenant, count in failed.items() if count * 2 >= total[tenant])


def _tenant_fails(seen: Sequence[Sample], fresh: Sequence[Sample], tenant: str) -> bool:
    own = [sample for sample in seen if sample.tenant == tenant]
    return _dominate(own[-max(MINIMUM, sum(1 for sample in fresh if sample.tenant == tenant)) :])


def _dominate(samples: Sequence[Sample]) -> bool:
    """Whether there are enough messages to judge by, and failures are half of them or more."""
    return len(samples) >= MINIMUM and sum(sample.failed for sample in samples) * 2 >= len(samples)
