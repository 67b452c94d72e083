"""A typing error stays within a word: what ``rollcall_search`` checks has two blanks where the text has one.

A pattern's ``_`` is any one character, and took the blank between "jo" and "doe" for a letter too many. Of two it can take
one only, and no word begins or ends with the other.
"""

from alembic import op

revision = "0010"
down_revision = "0009"

CHECKED = "c.search_text || ''''"  # within a literal of the function
APART = "replace(c.search_text, '' '', ''  '')"


def upgrade() -> None:
    _replace(CHECKED, APART)


def downgrade() -> None:
    _replace(APART, CHECKED)


def _replace(old: str, new: str) -> None:
    op.execute(
        "do $$ begin execute replace(pg_get_functiondef('rollcall_search'::regproc),"
        f" $old${old}$old$, $new${new}$new$); end $$"
    )
