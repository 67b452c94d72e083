"""The timeline's indexes: a session, the tenant by type and by category, what waits to be delivered, what expires.

Rows are inserted into contact_events more often than anywhere else, and each pays for its indexes. So of the new ones only
type and category hold every row. None has the id that settles the order of equals: those are sorted when they are read.

All of them are partial, those of every row by a condition that a search for their column implies. So what looks an event up by
its id can take the primary key only. While a new month's partition is empty the planner takes all indexes for equally good, and
a worker keeps the plan that it made then.

Workers wait while an index is built. Partitions that are made later take the indexes over with ``including all``.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

CONTACT = "(tenant_id, contact_id, occurred_at, sequence)"
INDEXES = {
    "contact": f"{CONTACT} where contact_id is not null",
    "session": "(tenant_id, session_id, occurred_at, sequence) where session_id is not null",
    "type": "(tenant_id, type, occurred_at) where type is not null",
    "category": "(tenant_id, category, occurred_at) where category is not null",
    # Of a contact, and of the tenant: a queue that nobody empties is long, and is never to be sorted.
    "undelivered": "(tenant_id, contact_id, sequence) where realtime and delivered_at is null",
    "waiting": "(tenant_id, created_at) where realtime and delivered_at is null",
    "expiring": "(expires_at) where expires_at is not null",  # of all tenants: it is for those who clean up
    "visible": f"{CONTACT} where visible_to_client",
}


def upgrade() -> None:
    op.execute("drop index contact_events_contact_idx")
    for name, definition in INDEXES.items():
        op.execute(f"create index contact_events_{name}_idx on contact_events {definition}")


def downgrade() -> None:
    for name in INDEXES:
        op.execute(f"drop index contact_events_{name}_idx")
    op.execute(f"create index contact_events_contact_idx on contact_events {CONTACT}")
