"""Identifiers of contacts. Slot 0 of a key owns it; further channels of the same contact take slots 1, 2, …"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, SmallInteger, String, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from storage.tables.metadata import INSTANT, metadata

channel_identifiers = Table(
    "channel_identifiers",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("identifier", String(255), primary_key=True),
    Column("scope", String(255), primary_key=True, server_default=text("''")),
    Column("slot", SmallInteger, primary_key=True, server_default=text("0"), autoincrement=False),
    Column("id", Uuid, nullable=False),
    Column("contact_id", Uuid, nullable=False),
    Column("channel", Text, nullable=False),
    Column("raw", String(255), nullable=False),
    Column("aliases", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("is_primary", Boolean, nullable=False, server_default=text("false")),
    Column("is_verified", Boolean, nullable=False, server_default=text("false")),
    Column("shared", Boolean, nullable=False, server_default=text("false")),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'")),
    Column("created_at", INSTANT, nullable=False),
)

Index("channel_identifiers_contact_idx", channel_identifiers.c.tenant_id, channel_identifiers.c.contact_id)
