"""The engine's own tables: positions, leases, seen message ids, dead letters, outbox."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from storage.tables.metadata import INSTANT, metadata

inbox_messages = Table(
    "inbox_messages",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("outcome", Text, nullable=False),
    Column("created_at", INSTANT, nullable=False),
    postgresql_partition_by="range (digest)",
)
Index("inbox_messages_created_at_idx", inbox_messages.c.created_at, postgresql_using="brin")

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("stream", Text, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("count", Integer, nullable=False, server_default=text("1")),
    Column("broker_time", INSTANT, nullable=False),
    Column("created_at", INSTANT, nullable=False),
    Column("published_at", INSTANT),
    Column("replayed_at", INSTANT),
)
Index(
    "dead_letters_unpublished_idx", dead_letters.c.id, postgresql_where=dead_letters.c.published_at.is_(None)
)
Index("dead_letters_tenant_idx", dead_letters.c.tenant_id, dead_letters.c.id)

cursors = Table(
    "cursors",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("stream_created", INSTANT, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("updated_at", INSTANT, nullable=False, server_default=text("now()")),
    postgresql_with={"fillfactor": 50},
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("resource", Integer, primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False),
    Column("expires_at", INSTANT, nullable=False),
    postgresql_with={"fillfactor": 50},
)

lease_instances = Table(
    "lease_instances",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, primary_key=True),
    Column("expires_at", INSTANT, nullable=False),
    postgresql_with={"fillfactor": 50},
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("shard", SmallInteger, nullable=False),
    Column("events", LargeBinary, nullable=False),
    Column("event_count", Integer, nullable=False),
    Column("replies", LargeBinary, nullable=False),
    Column("created_at", INSTANT, nullable=False, server_default=text("clock_timestamp()")),
    Column("published_at", INSTANT),
    Column("stream_sequence", BigInteger),
)
Index("outbox_unpublished_idx", outbox.c.id, postgresql_where=outbox.c.published_at.is_(None))
Index(
    "outbox_published_idx",
    outbox.c.shard,
    outbox.c.stream_sequence,
    postgresql_where=outbox.c.stream_sequence.is_not(None),
)

relay_shards = Table(
    "relay_shards",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("stream_created", INSTANT, nullable=False),
    Column("marker_sequence", BigInteger, nullable=False),
    postgresql_with={"fillfactor": 50},
)
