"""Contacts in the order of their names' bytes, whatever the database's locale; and since when an index lacks changes.

The collation is the column's own, so the index, every order and every comparison follow it. Only the index is built anew.
"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute('alter table contacts alter column display_name type varchar(255) collate "C"')
    op.execute("alter table search_state add column incomplete_since timestamptz")


def downgrade() -> None:
    op.execute("alter table search_state drop column incomplete_since")
    op.execute('alter table contacts alter column display_name type varchar(255) collate "default"')
