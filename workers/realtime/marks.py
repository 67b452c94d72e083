"""What clients acknowledge and have read, gathered for a moment and sent on as commands.

The command decides what a mark means and does it once, whatever several devices say. An acknowledgement that is lost on the
way (an instance dies) leaves its event undelivered: it comes again, and the client knows it by its id.

Invariant: what was taken is sent, however long the bus is away; by an instance that is told to end, for as long as it is
given. So what is taken is bounded, for each actor and each tenant by itself, and what would be too much is refused whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

import nats.errors
from nats.aio.client import Client

from contracts import envelope, subjects
from contracts.envelope import Envelope
from contracts.realtime.requests import MOST_IDS
from contracts.vocabulary import Audience
from ops import metrics
from ops.logging import get_logger
from storage.reads import delivery
from storage.reads.session import Reads
from workers.realtime.rights import Rights

SOURCE: Final = "rollcall-realtime"
GATHER_SECONDS: Final = 0.05
AGAIN_SECONDS: Final = 1.0
TIMEOUT: Final = 5.0
MOST_OF_TENANT: Final = 50_000  # marks that wait or are under way
MOST_OF_ACTOR: Final = 5_000
AT_ONCE: Final = 32  # commands

Kind = Literal["mark_delivered", "mark_read"]

log = get_logger("workers.realtime.marks")


class TooManyMarks(Exception):
    """So many wait for the bus already that these are not taken."""


class _Group(NamedTuple):
    """Marks that one command can carry."""

    tenant: str
    kind: Kind
    contact_id: uuid.UUID | None  # None: of any contact
    reader: Audience | None
    actor: str
    expired: bool = False


class Marks:
    def __init__(self, bus: Callable[[], Client], reads: Reads) -> None:
        self._bus = bus
        self._reads = reads
        self._waiting: dict[_Group, dict[uuid.UUID, None]] = {}
        self._counts: Counter[tuple[str, str | None]] = Counter()  # by tenant, and by actor in it
        self._come = asyncio.Event()
        self._flushing = asyncio.Lock()

    @property
    def unsent(self) -> int:
        """Marks that wait or are under way."""
        return sum(count for (_, actor), count in self._counts.items() if actor is None)

    async def add(self, kind: Kind, rights: Rights, ids: Iterable[uuid.UUID]) -> None:
        """A session says so of events; those that are not of its contacts are left out. May ask the database.

        Raises TooManyMarks.
        """
        reader, allowed = rights.audience, rights.contacts
        if allowed is None or len(allowed) == 1:
            only = next(iter(allowed)) if allowed else None
            self._take({_Group(rights.tenant, kind, only, reader, rights.actor): list(ids)})
            return
        async with self._reads.of(rights.tenant) as reads:
            whose = await delivery.contacts_of(reads, list(ids))
        found: defaultdict[_Group, list[uuid.UUID]] = defaultdict(list)
        for event_id, contact_id in whose.items():
            if contact_id in allowed:
                found[_Group(rights.tenant, kind, contact_id, reader, rights.actor)].append(event_id)
        self._take(found)

    def expired(self, tenant: str, contact_id: uuid.UUID, ids: Iterable[uuid.UUID]) -> None:
        """Events of a contact expired before its client was sent them. Where too many wait, the next opening finds them."""
        with contextlib.suppress(TooManyMarks):
            self._take(
                {_Group(tenant, "mark_delivered", contact_id, None, "system", expired=True): list(ids)}
            )

    async def run(self) -> None:
        """Send them on, until cancelled."""
        while True:
            await self._come.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._come.clear()
            await self.drain()

    async def drain(self) -> None:
        """Send all that was taken; until cancelled, where the bus is away."""
        while not await self.flush():  # noqa: ASYNC110 - nobody says that the bus is back
            await asyncio.sleep(AGAIN_SECONDS)

    async def flush(self) -> bool:
        """Send what waits, behind what is under way; False when some of it waits on."""
        async with self._flushing:
            waiting, self._waiting = self._waiting, {}
            return await self._send(waiting)

    async def _send(self, waiting: Mapping[_Group, dict[uuid.UUID, None]]) -> bool:
        gate = asyncio.Semaphore(AT_ONCE)

        async def send(group: _Group, ids: list[uuid.UUID]) -> bool:
            async with gate:
                try:
                    await self._publish(group, ids)
                except (nats.errors.Error, TimeoutError, OSError) as error:
                    log.warning("marks wait", operation=group.kind, error=type(error).__name__)
                    self._count(group, -len(ids))
                    self._keep(group, ids)
                    return False
                self._count(group, -len(ids))  # not where it was cut off: then they are unsent
                return True

        batches = [
            (group, ids[n : n + MOST_IDS])
            for group, found in waiting.items()
            for ids in [list(found)]
            for n in range(0, len(ids), MOST_IDS)
        ]
        return all(await asyncio.gather(*(send(*batch) for batch in batches)))

    def _take(self, marks: Mapping[_Group, list[uuid.UUID]]) -> None:
        """All of them, which are one actor's, or none. Raises TooManyMarks."""
        more = sum(map(len, marks.values()))
        for group in marks:
            of_tenant, of_actor = self._counts[group.tenant, None], self._counts[group.tenant, group.actor]
            if of_tenant + more > MOST_OF_TENANT or of_actor + more > MOST_OF_ACTOR:
                metrics.REALTIME_MARKS_REFUSED.inc(more)
                raise TooManyMarks
        for group, ids in marks.items():
            self._keep(group, ids)

    def _keep(self, group: _Group, ids: Iterable[uuid.UUID]) -> None:
        held = self._waiting.setdefault(group, {})
        before = len(held)
        held.update(dict.fromkeys(ids))
        self._count(group, len(held) - before)
        self._come.set()

    def _count(self, group: _Group, more: int) -> None:
        for counted in ((group.tenant, None), (group.tenant, group.actor)):
            self._counts[counted] += more
            if not self._counts[counted]:
                del self._counts[counted]

    async def _publish(self, group: _Group, ids: list[uuid.UUID]) -> None:
        data: dict[str, Any] = {"event_ids": [str(event_id) for event_id in ids]}
        key = subjects.NO_KEY
        if group.contact_id is not None:
            data["contact"] = {"id": str(group.contact_id)}
            key = str(group.contact_id)
        if group.reader is not None:
            data["reader"] = group.reader
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
