"""Timeline events, partitioned by month of ``created_at``, and the delivery status of messages."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, SmallInteger, String, Table, Text, Uuid, and_
from sqlalchemy.dialects.postgresql import JSONB

from storage.tables.metadata import INSTANT, metadata

contact_events = Table(
    "contact_events",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("contact_id", Uuid, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("contact_version", BigInteger, nullable=False),
    Column("session_id", String(128)),
    Column("thread_id", String(128)),
    Column("type", String(100), nullable=False),
    Column("category", Text, nullable=False),
    Column("priority", Text, nullable=False),
    Column("title", String(255), nullable=False),
    Column("description", Text),
    Column("payload", JSONB, nullable=False),
    Column("metadata", JSONB, nullable=False),
    Column("source", Text, nullable=False),
    Column("triggered_by", Text),
    Column("integration_source", Text),
    Column("realtime", Boolean, nullable=False),
    Column("delivered_at", INSTANT),
    Column("read_at", INSTANT),
    Column("visible_to_client", Boolean, nullable=False),
    Column("visible_to_agent", Boolean, nullable=False),
    Column("expires_at", INSTANT),
    Column("occurred_at", INSTANT, nullable=False),
    Column("created_at", INSTANT, primary_key=True),
    postgresql_partition_by="range (created_at)",
)

_E = contact_events.c
Index(
    "contact_events_contact_idx",
    _E.tenant_id,
    _E.contact_id,
    _E.occurred_at,
    _E.sequence,
    postgresql_where=_E.contact_id.is_not(None),
)
Index(
    "contact_events_session_idx",
    _E.tenant_id,
    _E.session_id,
    _E.occurred_at,
    _E.sequence,
    postgresql_where=_E.session_id.is_not(None),
)
Index("contact_events_type_idx", _E.tenant_id, _E.type, _E.occurred_at, postgresql_where=_E.type.is_not(None))
Index(
    "contact_events_category_idx",
    _E.tenant_id,
    _E.category,
    _E.occurred_at,
    postgresql_where=_E.category.is_not(None),
)
_UNDELIVERED = and_(_E.realtime, _E.delivered_at.is_(None))
Index(
    "contact_events_undelivered_idx",
    _E.tenant_id,
    _E.contact_id,
    _E.sequence,
    postgresql_where=_UNDELIVERED,
)
Index("contact_events_waiting_idx", _E.tenant_id, _E.created_at, postgresql_where=_UNDELIVERED)
Index("contact_events_expiring_idx", _E.expires_at, postgresql_where=_E.expires_at.is_not(None))
Index(
    "contact_events_visible_idx",
    _E.tenant_id,
    _E.contact_id,
    _E.occurred_at,
    _E.sequence,
    postgresql_where=_E.visible_to_client,
)

message_statuses = Table(
    "message_statuses",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("message_id", String(255), primary_key=True),
    Column("contact_id", Uuid, nullable=False),
    Column("status", Text, nullable=False),
    Column("rank", SmallInteger, nullable=False),
    Column("at", INSTANT, nullable=False),
)
