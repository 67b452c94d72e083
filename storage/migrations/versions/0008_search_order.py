"""Contacts in the order of the bytes of their names, as Elasticsearch has them, whatever the database's locale.

The collation is the column's own, so its index, every order and every comparison follow it. The index is built anew, and
contacts are neither read nor written meanwhile.
"""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute('alter table contacts alter column display_name type varchar(255) collate "C"')


def downgrade() -> None:
    op.execute('alter table contacts alter column display_name type varchar(255) collate "default"')
