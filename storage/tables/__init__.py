"""The schema as SQLAlchemy Core tables, by aggregate, on one MetaData; a test holds them to the migrations."""

from __future__ import annotations

from storage.tables.consents import contact_consents
from storage.tables.contacts import contacts
from storage.tables.engine import (
    cursors,
    dead_letters,
    inbox_messages,
    lease_instances,
    leases,
    outbox,
    relay_shards,
)
from storage.tables.identifiers import channel_identifiers
from storage.tables.metadata import metadata
from storage.tables.realtime import realtime_key, realtime_tickets
from storage.tables.search import search_rebuilds, search_state
from storage.tables.tags import contact_tag_mappings, contact_tags
from storage.tables.timeline import contact_events, message_statuses

__all__ = [
    "channel_identifiers",
    "contact_consents",
    "contact_events",
    "contact_tag_mappings",
    "contact_tags",
    "contacts",
    "cursors",
    "dead_letters",
    "inbox_messages",
    "lease_instances",
    "leases",
    "message_statuses",
    "metadata",
    "outbox",
    "realtime_key",
    "realtime_tickets",
    "relay_shards",
    "search_rebuilds",
    "search_state",
]
