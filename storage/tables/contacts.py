"""Contacts: a row each. A row with ``merged_into`` is a redirect to its survivor."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, String, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from storage.tables.metadata import INSTANT, metadata

contacts = Table(
    "contacts",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("external_id", Text),
    Column("first_name", String(100)),
    Column("last_name", String(100)),
    Column("display_name", String(255, "C")),  # both engines order by bytes
    Column("email", String(255)),
    Column("phone", String(255)),
    Column("avatar_url", String(500)),
    Column("status", Text, nullable=False, server_default=text("'active'")),
    Column("source", String(100)),
    Column("attributes", JSONB, nullable=False, server_default=text("'{}'")),
    Column("last_contact_at", INSTANT),
    Column("created_at", INSTANT, nullable=False),
    Column("updated_at", INSTANT, nullable=False),
    Column("deleted_at", INSTANT),
    Column("merged_into", Uuid),
    Column("version", BigInteger, nullable=False),
    Column("timeline_sequence", BigInteger, nullable=False),
    Column("search_text", Text, nullable=False, server_default=text("''")),
    CheckConstraint("status in ('active', 'inactive', 'blocked')"),
    postgresql_with={"fillfactor": 80},
)

Index(
    "contacts_external_id_key",
    contacts.c.tenant_id,
    contacts.c.external_id,
    unique=True,
    postgresql_where=contacts.c.external_id.is_not(None),
)
Index(
    "contacts_merged_into_idx",
    contacts.c.tenant_id,
    contacts.c.merged_into,
    postgresql_where=contacts.c.merged_into.is_not(None),
)
Index("contacts_created_at_idx", contacts.c.tenant_id, contacts.c.created_at, contacts.c.id)
Index("contacts_updated_at_idx", contacts.c.tenant_id, contacts.c.updated_at, contacts.c.id)
Index("contacts_display_name_idx", contacts.c.tenant_id, contacts.c.display_name, contacts.c.id)
Index(
    "contacts_search_idx",
    text("(array[tenant_id])"),
    contacts.c.search_text,
    contacts.c.attributes,
    postgresql_using="gin",
    postgresql_ops={"search_text": "gin_trgm_ops", "attributes": "jsonb_path_ops"},
)
