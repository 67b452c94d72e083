"""Bringing a subscription from where its client is to what happens now, with no hole and nothing twice at the seam.

First what waited for a contact that was away (the database says), then what the stream holds behind the client's position, as
fast as the client reads; then live. The subscriptions of a socket hold one page at a time. A position that the stream cannot
serve any more is answered with a resync, and live.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

from nats.aio.client import Client

from contracts.vocabulary import ResyncReason
from ops.logging import get_logger
from storage.reads import delivery
from storage.reads.session import Reads
from workers.faults import TRANSIENT
from workers.realtime import stored
from workers.realtime.entries import Entry
from workers.realtime.hub import Hub
from workers.realtime.positions import Cursors, Opening, Position
from workers.realtime.subscription import Subscription

WAITS: Final = (0.05, 2.0)  # seconds after a failure: at first, at most
BEHIND: Final = 0.05  # seconds until a replica that is behind its leader is asked again

log = get_logger("workers.realtime.catch_up")

T = TypeVar("T")


class Lost(Exception):
    """The stream does not hold any more what follows a position, or never did."""

    def __init__(self, reason: ResyncReason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class CatchUp:
    """``expired`` is told of a contact's events that expired before its client was there."""

    hub: Hub
    cursors: Cursors
    reads: Reads
    bus: Callable[[], Client]
    expired: Callable[[str, uuid.UUID, list[uuid.UUID]], None]

    async def lost(self, start: Position) -> ResyncReason | None:
        """Why the stream does not serve a position; None where it does, or cannot be asked now."""
        try:
            await self._check(start, start.sequence)
        except Lost as lost:
            return lost.reason
        except TRANSIENT:
            pass
        return None

    async def run(self, subscription: Subscription, start: Position) -> None:
        """From its client's position until the subscription is live.

        While the bus or the database is away it waits. Raises OSError once the client has gone.
        """
        try:
            if start.opening is not None:
                await self._open(subscription, start, start.opening)
            if subscription.lost or start[:2] != (self.hub.created, subscription.begins):
                await self._replay(subscription, start)
            elif not subscription.live:
                subscription.go_live(start.sequence)
        except Lost as lost:
            if not subscription.live:
                subscription.reset(lost.reason)

    async def _open(self, subscription: Subscription, here: Position, opening: Opening) -> None:
        """Send what waited for the contact. What the stream says of it later is known by the contact's sequence."""
        contact_id, sent, since = opening
        tenant = subscription.tenant
        upto: int | None = None
        while True:

            async def read(after: int = sent, last: int | None = upto) -> delivery.Waiting:
                async with self.reads.of(tenant) as reads:
                    if last is None and (gone := await delivery.expired(reads, contact_id)):
                        self.expired(tenant, contact_id, gone)
                    return await delivery.waiting(reads, contact_id, after=after, since=since, upto=last)

            async with subscription.outgoing.turn:
                found = await self._patiently(read)
                upto = found.upto
                for event in found.events:
                    await subscription.outgoing.room()
                    if subscription.live:
                        return
                    sent = event["sequence"]
                    place = Position(here.created, here.sequence, Opening(contact_id, sent, since))
                    entry = Entry(here.sequence, tenant, contact_id, "event", event)
                    entry.cursor = self.cursors.seal(tenant, place)
                    subscription.send(entry)
            if not found.events:
                reached = Opening(contact_id, sent, since)
                subscription.hold(sent, partial(self._behind, tenant, here.created, reached))
                return

    def _behind(self, tenant: str, created: datetime, opening: Opening, sequence: int) -> str:
        return self.cursors.seal(tenant, Position(created, sequence, opening))

    async def _replay(self, subscription: Subscription, here: Position) -> None:
        """Send what the stream holds behind the position. Raises Lost."""
        contacts = subscription.contacts
        only = next(iter(contacts)) if contacts is not None and len(contacts) == 1 else None
        wanted = stored.subjects(subscription.tenant, only)
        reached = here.sequence
        while not subscription.live:
            subscription.lost = False
            begins = reached
            async with subscription.outgoing.turn:
                page = await self._patiently(lambda after=begins: stored.page(self.bus(), wanted, after))  # type: ignore[misc]
                await self._patiently(lambda after=begins: self._check(here, after))  # type: ignore[misc]
                for sequence, entry in page:
                    if entry is not None and subscription.watches(entry):
                        await subscription.outgoing.room()
                        if subscription.live:
                            return
                        entry.cursor = self.cursors.seal(entry.tenant, Position(here.created, sequence))
                        subscription.send(entry)
                    reached = sequence
            if page:
                continue
            if not await self._patiently(lambda after=begins: stored.ends_at(self.bus(), wanted, after)):  # type: ignore[misc]
                await asyncio.sleep(BEHIND)
            elif not subscription.lost and not subscription.live:
                subscription.go_live(reached)

    async def _check(self, here: Position, after: int) -> None:
        """That nothing behind the position had left the stream by now. Raises Lost."""
        found = await stored.state(self.bus())
        if not (found.created == here.created == self.hub.created) or after > found.last:
            raise Lost(ResyncReason.STREAM_RESET)
        if found.first > after + 1:
            raise Lost(ResyncReason.TOO_OLD)

    async def _patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        """What the step answers, as soon as it can."""
        wait, longest = WAITS
        while True:
            try:
                return await step()
            except TRANSIENT as error:
                if wait > WAITS[0]:
                    log.warning("waiting", operation="catch up", error=type(error).__name__)
            await asyncio.sleep(wait)
            wait = min(wait * 2, longest)
