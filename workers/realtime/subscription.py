"""What one client watches under one name: first what it missed, then what happens.

Invariant: from ``hub.watch`` on nothing passes a subscription by. While it catches up, what happens waits here; ``go_live``
sends of that what lies behind the position that catching up has reached, with no turn of the event loop in between. The hub
may be behind that position; what it gives up to there has been sent.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson

from contracts.vocabulary import ResyncReason, Role
from ops import metrics
from workers.realtime.entries import Entry
from workers.realtime.outgoing import Outgoing

# What waits for a subscription that catches up, of what its client may see; it is read from the stream otherwise.
WAITING: Final = 1_000  # entries
WAITING_BYTES: Final = 1 << 20  # one of any size aside

Missed = Callable[[str, uuid.UUID, list[uuid.UUID]], None]  # tenant, contact, events


class Subscription:
    """``contacts`` is None for every contact of the tenant.

    ``missed`` is told of events that expired before a contact's client was sent them.
    """

    __slots__ = (
        "_bytes",
        "_held",
        "_missed",
        "_reached",
        "_waiting",
        "begins",
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
        self,
        name: str,
        tenant: str,
        role: Role,
        contacts: frozenset[uuid.UUID] | None,
        outgoing: Outgoing,
        missed: Missed,
    ) -> None:
        self.name = name
        self.named = orjson.dumps(name).decode()
        self.tenant = tenant
        self.role = role
        self.contacts = contacts
        self.outgoing = outgoing
        self.begins = 0  # of the stream's sequences: everything behind it passes here
        self.floor = 0  # of the contact's sequences: its client has everything up to there that it is to have
        # Until the stream has passed the floor: the cursor at a sequence of the stream.
        self._held: Callable[[int], str] | None = None
        self.lost = False  # whether something that happened does not wait here any more
        self.live = False
        self._waiting: list[Entry] = []
        self._missed = missed
        self._bytes = 0  # of what waits
        self._reached = 0  # of the stream's sequences: everything up to there was sent when it went live

    def watches(self, entry: Entry) -> bool:
        return entry.tenant == self.tenant and (self.contacts is None or entry.contact_id in self.contacts)

    def offer(self, entry: Entry) -> None:
        """Something happened."""
        if self.live:
            if entry.sequence > self._reached:
                self.send(entry)
            return
        shown = self.shown(entry)
        if shown is None and entry.is_whole:
            return
        size = len(shown or "")
        if self._waiting and (len(self._waiting) >= WAITING or self._bytes + size > WAITING_BYTES):
            self._forget()
            self.lost = True
            return
        self._waiting.append(entry)
        self._bytes += size

    def send(self, entry: Entry) -> None:
        """Have it sent, if this client is to see it."""
        if not entry.is_whole:
            self.outgoing.resync(self.name, ResyncReason.OVERFLOW)
            return
        if entry.contact_sequence is not None:
            if entry.contact_sequence <= self.floor:
                return
            self._held = None
        if (shown := self.shown(entry)) is not None:
            cursor = entry.cursor if self._held is None else self._held(entry.sequence)
            self.outgoing.offer(_Frame(self, entry, cursor, len(shown)))

    def shown(self, entry: Entry) -> str | None:
        """What this client is shown of it at the moment; None for nothing."""
        now = datetime.now(UTC)
        shown = entry.shown(self.role, now)
        if shown is None and self.role is Role.CONTACT and (event_id := entry.missed(self.role, now)):
            self._missed(self.tenant, entry.contact_id, [event_id])
        return shown

    def go_live(self, sequence: int) -> None:
        """Everything up to this sequence of the stream has been sent."""
        waiting = self._forget()
        self._reached = sequence
        self.live = True
        for entry in waiting:
            if entry.sequence > sequence:
                self.send(entry)

    def hold(self, floor: int, cursor: Callable[[int], str]) -> None:
        """The client was sent the contact's events up to this one of its sequences, which the stream is behind.

        Until it has passed them the client's cursors say so too.
        """
        self.floor, self._held = floor, cursor if floor else None

    def end(self) -> None:
        """Nobody wants it any more: nothing is sent. Whoever catches up sees that too, if cancelling was in vain."""
        self._forget()
        self.live = True

    def reset(self, reason: ResyncReason) -> None:
        """Nothing that happened so far is sent; the client refetches it."""
        self._forget()
        self.floor, self._held, self._reached = 0, None, 0
        self.live = True
        self.outgoing.resync(self.name, reason)

    def _forget(self) -> list[Entry]:
        """Nothing waits any more. Answers what did."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        return waiting


@dataclass(frozen=True, slots=True)
class _Frame:
    """An event on its way to a subscription."""

    _subscription: Subscription
    _entry: Entry
    _cursor: str
    size: int

    @property
    def sub(self) -> str:
        return self._subscription.name

    def text(self) -> str | None:
        entry, subscription = self._entry, self._subscription
        shown = subscription.shown(entry)
        if shown is None:
            return None
        metrics.REALTIME_EVENTS.labels(entry.kind).inc()
        return f'{{"type":"{entry.kind}","sub":{subscription.named},"cursor":"{self._cursor}",{shown}}}'
