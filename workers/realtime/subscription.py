"""What one client watches under one name: first what it missed, then what happens.

Invariant: from ``hub.watch`` on nothing passes a subscription by. While it catches up, what happens waits here; ``go_live``
sends of that what lies behind the position that catching up has reached, with no turn of the event loop in between.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from contracts.vocabulary import ResyncReason, Role
from ops import metrics
from workers.realtime.entries import Entry
from workers.realtime.outgoing import Outgoing

# Entries that wait for a subscription that catches up; it reads them from the stream otherwise.
WAITING = 1_000


class Subscription:
    """``contacts`` is None for every contact of the tenant."""

    __slots__ = (
        "_waiting",
        "contacts",
        "floor",
        "live",
        "lost",
        "name",
        "named",
        "outgoing",
        "role",
        "tenant",
    )

    def __init__(
        self, name: str, tenant: str, role: Role, contacts: frozenset[uuid.UUID] | None, outgoing: Outgoing
    ) -> None:
        self.name = name
        self.named = orjson.dumps(name).decode()
        self.tenant = tenant
        self.role = role
        self.contacts = contacts
        self.outgoing = outgoing
        self.floor = 0  # of the contact's sequences: its client has everything up to there that it is to have
        self.lost = False  # whether something that happened does not wait here any more
        self.live = False
        self._waiting: list[Entry] = []

    def watches(self, entry: Entry) -> bool:
        return entry.tenant == self.tenant and (self.contacts is None or entry.contact_id in self.contacts)

    def offer(self, entry: Entry) -> None:
        """Something happened."""
        if self.live:
            self.send(entry)
        elif len(self._waiting) < WAITING:
            self._waiting.append(entry)
        else:
            self._waiting.clear()
            self.lost = True

    def send(self, entry: Entry) -> None:
        """Have it sent, if this client is to see it."""
        if not entry.is_whole:
            self.outgoing.resync(self.name, ResyncReason.OVERFLOW)
            return
        if (entry.contact_sequence or self.floor + 1) <= self.floor:
            return
        if (shown := entry.shown(self.role, datetime.now(UTC))) is not None:
            self.outgoing.offer(_Frame(self, entry, len(shown)))

    def go_live(self, sequence: int) -> None:
        """Everything up to this sequence of the stream has been sent."""
        waiting, self._waiting = self._waiting, []
        self.live = True
        for entry in waiting:
            if entry.sequence > sequence:
                self.send(entry)

    def reset(self, reason: ResyncReason) -> None:
        """Nothing that happened so far is sent; the client refetches it."""
        self._waiting.clear()
        self.floor = 0
        self.live = True
        self.outgoing.resync(self.name, reason)


@dataclass(frozen=True, slots=True)
class _Frame:
    """An event on its way to a subscription."""

    _subscription: Subscription
    _entry: Entry
    size: int

    @property
    def sub(self) -> str:
        return self._subscription.name

    def text(self) -> str | None:
        entry, subscription = self._entry, self._subscription
        shown = entry.shown(subscription.role, datetime.now(UTC))
        if shown is None:
            return None
        metrics.REALTIME_EVENTS.labels(entry.kind).inc()
        return f'{{"type":"{entry.kind}","sub":{subscription.named},"cursor":"{entry.cursor}",{shown}}}'
