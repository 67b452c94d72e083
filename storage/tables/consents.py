"""Consents: the latest word of a contact for a channel and purpose."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, String, Table, Text, Uuid

from storage.tables.metadata import INSTANT, metadata

contact_consents = Table(
    "contact_consents",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("contact_id", Uuid, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("purpose", String(100), primary_key=True),
    Column("id", Uuid, nullable=False),
    Column("granted", Boolean, nullable=False),
    Column("granted_at", INSTANT),
    Column("revoked_at", INSTANT),
    Column("source", String(100)),
    Column("ip_address", String(45)),
)
