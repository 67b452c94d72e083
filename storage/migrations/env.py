"""Alembic's environment: revisions become one SQL script, which ``storage.migrate`` runs in one transaction.

Rendering instead of executing keeps asyncpg the only driver: its prepared statements take one command at a time, a
revision has many. So a revision is SQL; it cannot read the database from Python.
"""

from __future__ import annotations

from alembic import context

if not context.is_offline_mode():
    raise RuntimeError("migrations are run by `rollcall migrate`")
# A paramstyle without percent signs, so that those of format() and like are left as they are.
context.configure(dialect_name="postgresql", dialect_opts={"paramstyle": "named"})
with context.begin_transaction():
    context.run_migrations()
