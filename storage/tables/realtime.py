"""What the instances of the realtime worker share."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, Index, LargeBinary, Table, text
from sqlalchemy.dialects.postgresql import JSONB

from storage.tables.metadata import INSTANT, metadata

realtime_key = Table(
    "realtime_key",
    metadata,
    Column("singleton", Boolean, primary_key=True, server_default=text("true")),
    Column("key", LargeBinary, nullable=False),
    CheckConstraint("singleton"),
)

realtime_tickets = Table(
    "realtime_tickets",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("claims", JSONB, nullable=False),
    Column("expires_at", INSTANT, nullable=False),
)
Index("realtime_tickets_expires_at_idx", realtime_tickets.c.expires_at)
