"""What the instances of the realtime worker share: the key that signs cursors, and tickets that are good once.

Only the writer may look: whoever reads for people has no business here. Neither table has a tenant: a key is
everybody's, and a ticket is known by its digest alone.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

# Two random UUIDs are 244 random bits, from the server's cryptographic source, and need no extension.
SCHEMA = """
create table realtime_key (
    singleton boolean primary key default true check (singleton),
    key bytea not null
);
insert into realtime_key (key)
values (decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));

create table realtime_tickets (
    digest bytea primary key,
    claims jsonb not null,
    expires_at timestamptz not null
);
create index realtime_tickets_expires_at_idx on realtime_tickets (expires_at);

grant select on realtime_key to rollcall_writer;
grant select, insert, delete on realtime_tickets to rollcall_writer;
"""


def upgrade() -> None:
    op.execute(SCHEMA)


def downgrade() -> None:
    op.execute("drop table realtime_tickets")
    op.execute("drop table realtime_key")
