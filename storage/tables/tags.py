"""Tags of a tenant, and which contacts have them."""

from __future__ import annotations

from sqlalchemy import Column, Index, String, Table, Text, UniqueConstraint, Uuid

from storage.tables.metadata import INSTANT, metadata

contact_tags = Table(
    "contact_tags",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("id", Uuid, nullable=False),
    Column("name", String(100), primary_key=True),
    Column("color", String(7)),
    Column("description", Text),
    Column("created_at", INSTANT, nullable=False),
    UniqueConstraint("tenant_id", "id"),
)

contact_tag_mappings = Table(
    "contact_tag_mappings",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("contact_id", Uuid, primary_key=True),
    Column("tag_id", Uuid, primary_key=True),
    Column("created_at", INSTANT, nullable=False),
)

Index(
    "contact_tag_mappings_tag_idx",
    contact_tag_mappings.c.tenant_id,
    contact_tag_mappings.c.tag_id,
    contact_tag_mappings.c.contact_id,
)
