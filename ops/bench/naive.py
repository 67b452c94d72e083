"""The naive way, as a competent user would write it: one FastStream subscriber, one ORM session and transaction a message,
events published after the commit. Run as a process of its own; ends when ``MESSAGES`` have been handled.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from datetime import UTC, datetime
from typing import Any

import orjson
import uvloop
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from nats.js.api import ConsumerConfig
from sqlalchemy import BigInteger, DateTime, LargeBinary
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from contracts import subjects
from contracts.envelope import CONTENT_TYPE, Envelope, dump, new_id, parse
from contracts.webhooks import PROVIDERS
from contracts.webhooks.items import Item
from contracts.webhooks.naming import status_rank
from storage.ids import uuid7
from storage.inbox import digest
from workers.fold.identity import canonicalise_inbound

MESSAGES = int(os.environ.get("MESSAGES", "0"))
WORKERS = int(os.environ.get("WORKERS", "1"))
URL = os.environ.get("ROLLCALL_NATS_URL", "")
DSN = os.environ.get("ROLLCALL_POSTGRES_DSN", "").replace("postgresql://", "postgresql+asyncpg://")

Moment = DateTime(timezone=True)


class Base(DeclarativeBase):
    pass


class Contact(Base):
    __tablename__ = "contacts"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    display_name: Mapped[str | None]
    source: Mapped[str | None]
    attributes: Mapped[dict[str, Any]] = mapped_column(JSONB)
    last_contact_at: Mapped[datetime | None] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment)
    updated_at: Mapped[datetime] = mapped_column(Moment)
    version: Mapped[int] = mapped_column(BigInteger)
    timeline_sequence: Mapped[int] = mapped_column(BigInteger)


class Identifier(Base):
    __tablename__ = "channel_identifiers"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    identifier: Mapped[str] = mapped_column(primary_key=True)
    scope: Mapped[str] = mapped_column(primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID]
    contact_id: Mapped[uuid.UUID]
    channel: Mapped[str]
    raw: Mapped[str]
    is_primary: Mapped[bool]
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB)
    created_at: Mapped[datetime] = mapped_column(Moment)


class Seen(Base):
    __tablename__ = "inbox_messages"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    outcome: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Moment)


class TimelineEvent(Base):
    __tablename__ = "contact_events"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    contact_id: Mapped[uuid.UUID]
    sequence: Mapped[int] = mapped_column(BigInteger)
    contact_version: Mapped[int] = mapped_column(BigInteger)
    type: Mapped[str]
    category: Mapped[str]
    priority: Mapped[str]
    title: Mapped[str]
    description: Mapped[str | None]
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB)
    source: Mapped[str]
    integration_source: Mapped[str | None]
    realtime: Mapped[bool]
    visible_to_client: Mapped[bool]
    visible_to_agent: Mapped[bool]
    occurred_at: Mapped[datetime] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment, primary_key=True)


class Status(Base):
    __tablename__ = "message_statuses"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    channel: Mapped[str] = mapped_column(primary_key=True)
    message_id: Mapped[str] = mapped_column(primary_key=True)
    contact_id: Mapped[uuid.UUID]
    status: Mapped[str]
    rank: Mapped[int]
    at: Mapped[datetime] = mapped_column(Moment)


Events = list[tuple[str, uuid.UUID, dict[str, Any], str]]  # type, contact, data, id


async def apply(session: AsyncSession, tenant: str, envelope: Envelope, item: Item, events: Events) -> None:
    """One item: find or make the contact, write what happened."""
    now = datetime.now(UTC)
    item_key = digest("item", item.dedupe_key)
    if await session.get(Seen, (tenant, item_key)) is not None:
        return
    named = item.identifiers[0]
    key = canonicalise_inbound(named.channel, named.identifier, named.scope)
    at = item.occurred_at or envelope.time or now
    identifier = await session.get(Identifier, (tenant, key.kind, key.identifier, key.scope, 0))
    if identifier is None:
        contact = Contact(
            tenant_id=tenant,
            id=uuid7(),
            display_name=item.profile_name or key.identifier,
            source="whatsapp",
            attributes={},
            created_at=now,
            updated_at=now,
            version=1,
            timeline_sequence=0,
        )
        identifier = Identifier(
            tenant_id=tenant,
            kind=key.kind,
            identifier=key.identifier,
            scope=key.scope,
            slot=0,
            id=uuid7(),
            contact_id=contact.id,
            channel=named.channel,
            raw=named.identifier,
            is_primary=True,
            meta={"profile_name": item.profile_name} if item.profile_name else {},
            created_at=now,
        )
        session.add_all([contact, identifier])
        facts = {"id": str(contact.id), "display_name": contact.display_name, "version": 1}
        events.append(("contact.created", contact.id, {"contact": facts}, new_id()))
        _write(session, contact, "contact_created", "system", now, now, {}, None, "system", events)
    else:
        found = await session.get(Contact, (tenant, identifier.contact_id), with_for_update=True)
        assert found is not None
        contact = found
    if item.touches and (contact.last_contact_at is None or contact.last_contact_at < at):
        contact.last_contact_at = at
    _write(
        session, contact, item.type, item.category, at, now, item.payload, item.description, "webhook", events
    )
    if item.message_id and item.status:
        row = {
            "tenant_id": tenant,
            "channel": item.channel,
            "message_id": item.message_id,
            "contact_id": contact.id,
            "status": item.status,
            "rank": status_rank(item.status),
            "at": at,
        }
        upsert = insert(Status).values(row)
        await session.execute(
            upsert.on_conflict_do_update(
                index_elements=["tenant_id", "channel", "message_id"],
                set_={
                    "status": upsert.excluded.status,
                    "rank": upsert.excluded.rank,
                    "at": upsert.excluded.at,
                },
                where=upsert.excluded.rank > Status.rank,
            )
        )
    session.add(Seen(tenant_id=tenant, digest=item_key, outcome=str(contact.id), created_at=now))


def _write(
    session: AsyncSession,
    contact: Contact,
    kind: str,
    category: str,
    at: datetime,
    now: datetime,
    payload: dict[str, Any],
    description: str | None,
    source: str,
    events: Events,
) -> None:
    contact.timeline_sequence += 1
    event = TimelineEvent(
        tenant_id=contact.tenant_id,
        id=uuid7(),
        contact_id=contact.id,
        sequence=contact.timeline_sequence,
        contact_version=contact.version,
        type=kind,
        category=category,
        priority="normal",
        title=kind.replace("_", " "),
        description=description,
        payload=payload,
        meta={},
        source=source,
        integration_source="whatsapp" if source == "webhook" else None,
        realtime=False,
        visible_to_client=False,
        visible_to_agent=True,
        occurred_at=at,
        created_at=now,
    )
    session.add(event)
    data = {
        "id": str(event.id),
        "contact_id": str(contact.id),
        "sequence": event.sequence,
        "type": kind,
        "category": category,
        "title": event.title,
        "description": description,
        "payload": payload,
        "source": source,
        "occurred_at": at,
        "created_at": now,
    }
    events.append((f"timeline.{category}", contact.id, data, str(event.id)))


async def main() -> None:
    engine = create_async_engine(DSN, pool_size=max(5, WORKERS))
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    broker = NatsBroker(URL, logger=None)
    done = asyncio.Event()
    handled = 0

    async def handle(body: bytes, tenant: str) -> None:
        nonlocal handled
        envelope = parse(body)
        events: Events = []
        async with sessions() as session, session.begin():
            key = digest("message", envelope.source, envelope.id)
            if await session.get(Seen, (tenant, key)) is None:
                for item in PROVIDERS["whatsapp"](envelope):
                    await apply(session, tenant, envelope, item, events)
                outcome = orjson.dumps({"status": "applied"}).decode()
                session.add(Seen(tenant_id=tenant, digest=key, outcome=outcome, created_at=datetime.now(UTC)))
        for kind, contact_id, data, event_id in events:
            event = Envelope(event_id, "rollcall", kind, data, datetime.now(UTC), tenant)
            await broker.publish(
                dump(event),
                subjects.event(kind, tenant, contact_id),
                stream="EVENTS",
                headers={"Content-Type": CONTENT_TYPE, "Nats-Msg-Id": event_id},
            )
        handled += 1
        if handled >= MESSAGES:
            done.set()

    at_once: Any = WORKERS if WORKERS > 1 else None
    subscriber: Any = broker.subscriber(
        "webhook.>",
        stream=JStream("WEBHOOK", declare=False),
        durable="naive",
        config=ConsumerConfig(ack_wait=60, max_ack_pending=20_000),
        pull_sub=PullSub(100, timeout=0.5),
        ack_policy=AckPolicy.NACK_ON_ERROR,
        max_workers=at_once,
    )

    @subscriber  # type: ignore[untyped-decorator]
    async def receive(message: NatsMessage) -> None:
        tenant = subjects.parse(subjects.split_partition(message.raw_message.subject)[0]).tenant
        try:
            await handle(message.body, tenant)
        except IntegrityError:  # somebody else has made the contact meanwhile
            await handle(message.body, tenant)

    await broker.start()
    await done.wait()
    await broker.stop()
    await engine.dispose()


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main())
