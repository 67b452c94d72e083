"""The text that contacts are found by, written with the contact (``storage.search.text``).

Contacts from before have none yet. ``rollcall migrate`` writes theirs after this revision and before the next one, which
indexes it (``storage.search.texts``). A worker of the version before knows nothing of it: whoever writes contacts is stopped
before, as docs/operating.md says.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

# The next revision's index needs it; said here, before anything is written.
EXTENSION = """
do $$
declare
    database text := current_database();
begin
    if exists (select from pg_extension where extname = 'pg_trgm') then
        return;  -- in whichever schema
    end if;
    if not exists (select from pg_available_extensions where name = 'pg_trgm') then
        raise exception 'this PostgreSQL has no extension pg_trgm, which searching contacts needs'
            using hint = 'install it on the server: it is one of the contrib modules (package postgresql-contrib), '
                'and every hosted PostgreSQL has it';
    end if;
    begin
        create extension pg_trgm;
    exception when others then
        raise exception 'the extension pg_trgm, which searching contacts needs, is missing, and % may not create it: %',
                current_user, sqlerrm
            using hint = format('let a superuser, or a user who may create in the database, run in it: '
                '"create extension pg_trgm" (database %I); then migrate again', database);
    end;
end $$;
"""


def upgrade() -> None:
    op.execute(EXTENSION)
    op.execute("alter table contacts add column search_text text not null default ''")


def downgrade() -> None:
    """The extension stays: it may have been there before."""
    op.execute("alter table contacts drop column search_text")
