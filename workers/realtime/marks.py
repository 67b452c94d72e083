"""What clients acknowledge and have read, gathered for a moment and sent on as commands.

The command decides what a mark means and does it once, whatever several devices say. An acknowledgement that is lost on the
way (an instance dies) leaves its event undelivered: it comes again, and the client knows it by its id.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, NamedTuple

import nats.errors
from nats.aio.client import Client

from contracts import envelope, subjects
from contracts.envelope import Envelope
from contracts.realtime.requests import MOST_IDS
from contracts.vocabulary import Role
from ops import metrics
from ops.logging import get_logger
from storage.reads import delivery
from storage.reads.session import Reads
from workers.realtime.rights import Rights

SOURCE: Final = "rollcall-realtime"
GATHER_SECONDS: Final = 0.05
AGAIN_SECONDS: Final = 1.0
TIMEOUT: Final = 5.0
MOST_WAITING: Final = 50_000  # marks; what comes on top is dropped, and its events come again
AT_ONCE: Final = 32  # commands

Kind = Literal["mark_delivered", "mark_read"]

log = get_logger("workers.realtime.marks")


class _Group(NamedTuple):
    """Marks that one command can carry."""

    tenant: str
    kind: Kind
    contact_id: uuid.UUID | None  # None: of any contact
    reader: Role | None
    actor: str
    expired: bool = False


class Marks:
    def __init__(self, bus: Callable[[], Client], reads: Reads) -> None:
        self._bus = bus
        self._reads = reads
        self._waiting: dict[_Group, dict[uuid.UUID, None]] = {}
        self._count = 0
        self._come = asyncio.Event()

    async def add(self, kind: Kind, rights: Rights, ids: Iterable[uuid.UUID]) -> None:
        """A session says so of events; those that are not of its contacts are left out. May ask the database."""
        reader, allowed = rights.role, rights.contacts
        if allowed is None or len(allowed) == 1:
            only = next(iter(allowed)) if allowed else None
            self._keep(_Group(rights.tenant, kind, only, reader, rights.actor), ids)
            return
        async with self._reads.of(rights.tenant) as reads:
            whose = await delivery.contacts_of(reads, list(ids))
        for event_id, contact_id in whose.items():
            if contact_id in allowed:
                self._keep(_Group(rights.tenant, kind, contact_id, reader, rights.actor), [event_id])

    def expired(self, tenant: str, contact_id: uuid.UUID, ids: Iterable[uuid.UUID]) -> None:
        """Events of a contact expired before its client was sent them."""
        self._keep(_Group(tenant, "mark_delivered", contact_id, None, "system", expired=True), ids)

    async def run(self) -> None:
        """Send them on, until cancelled."""
        while True:
            await self._come.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._come.clear()
            if not await self.flush():
                await asyncio.sleep(AGAIN_SECONDS)

    async def flush(self) -> bool:
        """Send what waits; False when some of it waits on."""
        waiting, self._waiting, self._count = self._waiting, {}, 0
        gate = asyncio.Semaphore(AT_ONCE)

        async def send(group: _Group, ids: list[uuid.UUID]) -> bool:
            async with gate:
                try:
                    await self._publish(group, ids)
                except (nats.errors.Error, TimeoutError, OSError) as error:
                    log.warning("marks wait", operation=group.kind, error=type(error).__name__)
                    self._keep(group, ids)
                    return False
                return True

        batches = [
            (group, ids[n : n + MOST_IDS])
            for group, found in waiting.items()
            for ids in [list(found)]
            for n in range(0, len(ids), MOST_IDS)
        ]
        return all(await asyncio.gather(*(send(*batch) for batch in batches)))

    def _keep(self, group: _Group, ids: Iterable[uuid.UUID]) -> None:
        held = self._waiting.setdefault(group, {})
        for event_id in ids:
            if self._count >= MOST_WAITING:
                metrics.REALTIME_MARKS_DROPPED.inc()
                continue
            self._count += event_id not in held
            held[event_id] = None
        self._come.set()

    async def _publish(self, group: _Group, ids: list[uuid.UUID]) -> None:
        data: dict[str, Any] = {"event_ids": [str(event_id) for event_id in ids]}
        key = subjects.NO_KEY
        if group.contact_id is not None:
            data["contact"] = {"id": str(group.contact_id)}
            key = str(group.contact_id)
        if group.reader is not None:
            data["reader"] = "client" if group.reader is Role.CONTACT else "agent"
        if group.expired:
            data["expired"] = True
        message = Envelope(
            id=envelope.new_id(),
            source=SOURCE,
            type=f"command.timeline.{group.kind}",
            data=data,
            tenantid=group.tenant,
            actor=group.actor,
        )
        await (
            self._bus()
            .jetstream()
            .publish(
                subjects.command(f"timeline.{group.kind}", group.tenant, key),
                envelope.dump(message),
                headers={"Content-Type": envelope.CONTENT_TYPE, "Nats-Msg-Id": message.id},
                timeout=TIMEOUT,
            )
        )
