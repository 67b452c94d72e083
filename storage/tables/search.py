"""Where the search index stands: which one is live, which one is being built, and the rebuilds."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, Table, Text, Uuid, func, text

from storage.tables.metadata import INSTANT, metadata

search_state = Table(
    "search_state",
    metadata,
    Column("singleton", Boolean, primary_key=True, server_default=text("true")),
    Column("live_index", Text),
    Column("next_index", Text),
    Column("caught_up_at", INSTANT),
    Column("caught_up_sequence", BigInteger),
    Column("incomplete_since", INSTANT),
    CheckConstraint("singleton"),
)

search_rebuilds = Table(
    "search_rebuilds",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Text),
    Column("index_name", Text),
    Column("status", Text, nullable=False, server_default=text("'waiting'")),
    Column("total", BigInteger),
    Column("done", BigInteger, nullable=False, server_default=text("0")),
    Column("position_tenant", Text),
    Column("position_id", Uuid),
    Column("error", Text),
    Column("owner", Text),
    Column("lease_until", INSTANT),
    Column("created_at", INSTANT, nullable=False, server_default=text("now()")),
    Column("started_at", INSTANT),
    Column("updated_at", INSTANT, nullable=False, server_default=text("now()")),
    Column("finished_at", INSTANT),
    CheckConstraint("status in ('waiting', 'running', 'done', 'failed')"),
)
Index(
    "search_rebuilds_unfinished_key",
    func.coalesce(search_rebuilds.c.tenant_id, ""),
    unique=True,
    postgresql_where=search_rebuilds.c.status.in_(["waiting", "running"]),
)
