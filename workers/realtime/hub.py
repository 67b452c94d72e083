"""Who watches whom on this instance. Everything that happens passes here once, in the order of the stream. No I/O."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from datetime import datetime

from contracts.vocabulary import ResyncReason
from workers.realtime.entries import Entry
from workers.realtime.positions import Cursors, Position
from workers.realtime.subscription import Subscription


class Hub:
    """``created`` and ``sequence`` say of which stream, and up to where, everything was given to who watches it."""

    def __init__(self, cursors: Cursors) -> None:
        self._cursors = cursors
        self._by_tenant: dict[str, set[Subscription]] = {}
        self._by_contact: dict[tuple[str, uuid.UUID], set[Subscription]] = {}
        self.started = asyncio.Event()
        self._created: datetime | None = None
        self.sequence = 0

    @property
    def created(self) -> datetime:
        assert self._created is not None, "nobody is let in before the stream is known"
        return self._created

    @property
    def position(self) -> Position:
        return Position(self.created, self.sequence)

    def is_of(self, created: datetime, last_sequence: int) -> bool:
        """Whether a stream that was created then, and ends there, can be the one that was read so far."""
        return self._created == created and self.sequence <= last_sequence

    def begin(self, created: datetime, sequence: int) -> None:
        """Go on in this stream after this sequence. Who watched another one, or more of this, refetches."""
        self._created, self.sequence = created, sequence
        for subscription in self._everyone():
            subscription.reset(ResyncReason.STREAM_RESET)
        self.started.set()

    def skip(self, sequence: int) -> None:
        """Up to this sequence the stream does not hold any more what follows. Everybody refetches."""
        self.sequence = sequence
        for subscription in self._everyone():
            subscription.reset(ResyncReason.TOO_OLD)

    def watch(self, subscription: Subscription) -> None:
        subscription.begins = self.sequence
        for group in self._groups(subscription):
            group.add(subscription)

    def unwatch(self, subscription: Subscription) -> None:
        tenant = subscription.tenant
        for group in self._groups(subscription):
            group.discard(subscription)
        if subscription.contacts is None:
            if not self._by_tenant[tenant]:
                del self._by_tenant[tenant]
            return
        for contact_id in subscription.contacts:
            if not self._by_contact[tenant, contact_id]:
                del self._by_contact[tenant, contact_id]

    def take(self, sequence: int, entry: Entry | None) -> None:
        """The stream's next message; None where it is about no timeline."""
        self.sequence = sequence
        if entry is None:
            return
        watching = (
            *self._by_tenant.get(entry.tenant, ()),
            *self._by_contact.get((entry.tenant, entry.contact_id), ()),
        )
        if watching:
            entry.cursor = self._cursors.seal(entry.tenant, self.position)
        for subscription in watching:
            subscription.offer(entry)

    def _groups(self, subscription: Subscription) -> Iterator[set[Subscription]]:
        tenant = subscription.tenant
        if subscription.contacts is None:
            yield self._by_tenant.setdefault(tenant, set())
            return
        for contact_id in subscription.contacts:
            yield self._by_contact.setdefault((tenant, contact_id), set())

    def _everyone(self) -> set[Subscription]:
        groups = (*self._by_tenant.values(), *self._by_contact.values())
        return {subscription for group in groups for subscription in group}
