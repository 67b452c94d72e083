"""Since when the search index lacks changes that no event brings any more.

After this revision ``rollcall migrate`` writes the texts anew in which one long value had displaced what came after it
(``storage.search.texts``).
"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("alter table search_state add column incomplete_since timestamptz")


def downgrade() -> None:
    op.execute("alter table search_state drop column incomplete_since")
