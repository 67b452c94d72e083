"""The foundation: contacts, their identifiers and timeline, and the engine's own tables.

Invariants that the schema holds:

- ``channel_identifiers``: the row with slot 0 owns (tenant, kind, identifier, scope); further channels of the same
  contact take slots 1, 2, …, so the primary key is what two workers race on.
- ``contacts.merged_into`` always names a survivor, never another redirect.
- ``cursors`` are written only by the transaction that applies the messages they speak of.
- ``inbox_messages`` is partitioned by ranges of its digest, which is a hash: COPY fills one partition after the other, so
  that ids sorted by digest are taken in that order whatever partitions they lie in.
- Nothing that changes with every message is indexed, so that those updates stay heap-only.
"""

from alembic import op

revision = "0001"
down_revision = None

TENANT_TABLES = (
    "contacts",
    "channel_identifiers",
    "contact_tags",
    "contact_tag_mappings",
    "contact_consents",
    "contact_events",
    "message_statuses",
    "inbox_messages",
    "dead_letters",
)
ENGINE_TABLES = ("cursors", "leases", "outbox", "relay_shards")

SCHEMA = """
create table contacts (
    tenant_id text not null,
    id uuid not null,
    external_id text,
    first_name varchar(100),
    last_name varchar(100),
    display_name varchar(255),
    email varchar(255),
    phone varchar(255),
    avatar_url varchar(500),
    status text not null default 'active' check (status in ('active', 'inactive', 'blocked')),
    source varchar(100),
    attributes jsonb not null default '{}',
    last_contact_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    merged_into uuid,
    version bigint not null,
    timeline_sequence bigint not null,
    primary key (tenant_id, id)
) with (fillfactor = 80);
create unique index contacts_external_id_key on contacts (tenant_id, external_id) where external_id is not null;
create index contacts_merged_into_idx on contacts (tenant_id, merged_into) where merged_into is not null;
create index contacts_created_at_idx on contacts (tenant_id, created_at, id);
create index contacts_updated_at_idx on contacts (tenant_id, updated_at, id);
create index contacts_display_name_idx on contacts (tenant_id, display_name, id);

create table channel_identifiers (
    tenant_id text not null,
    kind text not null,
    identifier varchar(255) not null,
    scope varchar(255) not null default '',
    slot smallint not null default 0,
    id uuid not null,
    contact_id uuid not null,
    channel text not null,
    raw varchar(255) not null,
    aliases text[] not null default '{}',
    is_primary boolean not null default false,
    is_verified boolean not null default false,
    shared boolean not null default false,
    metadata jsonb not null default '{}',
    created_at timestamptz not null,
    primary key (tenant_id, kind, identifier, scope, slot)
);
create index channel_identifiers_contact_idx on channel_identifiers (tenant_id, contact_id);

create table contact_tags (
    tenant_id text not null,
    id uuid not null,
    name varchar(100) not null,
    color varchar(7),
    description text,
    created_at timestamptz not null,
    primary key (tenant_id, name),
    unique (tenant_id, id)
);

create table contact_tag_mappings (
    tenant_id text not null,
    contact_id uuid not null,
    tag_id uuid not null,
    created_at timestamptz not null,
    primary key (tenant_id, contact_id, tag_id)
);
create index contact_tag_mappings_tag_idx on contact_tag_mappings (tenant_id, tag_id, contact_id);

create table contact_consents (
    tenant_id text not null,
    contact_id uuid not null,
    channel text not null,
    purpose varchar(100) not null,
    id uuid not null,
    granted boolean not null,
    granted_at timestamptz,
    revoked_at timestamptz,
    source varchar(100),
    ip_address varchar(45),
    primary key (tenant_id, contact_id, channel, purpose)
);

create table contact_events (
    tenant_id text not null,
    id uuid not null,
    contact_id uuid not null,
    sequence bigint not null,
    contact_version bigint not null,
    session_id varchar(128),
    thread_id varchar(128),
    type varchar(100) not null,
    category text not null,
    priority text not null,
    title varchar(255) not null,
    description text,
    payload jsonb not null,
    metadata jsonb not null,
    source text not null,
    triggered_by text,
    integration_source text,
    realtime boolean not null,
    delivered_at timestamptz,
    read_at timestamptz,
    visible_to_client boolean not null,
    visible_to_agent boolean not null,
    expires_at timestamptz,
    occurred_at timestamptz not null,
    created_at timestamptz not null,
    primary key (tenant_id, id, created_at)
) partition by range (created_at);
create table contact_events_default partition of contact_events default;
create index contact_events_contact_idx on contact_events (tenant_id, contact_id, occurred_at, sequence);

create table message_statuses (
    tenant_id text not null,
    channel text not null,
    message_id varchar(255) not null,
    contact_id uuid not null,
    status text not null,
    rank smallint not null,
    at timestamptz not null,
    primary key (tenant_id, channel, message_id)
);

create table inbox_messages (
    tenant_id text not null,
    digest bytea not null,
    outcome text not null,
    created_at timestamptz not null,
    primary key (tenant_id, digest)
) partition by range (digest);
create index inbox_messages_created_at_idx on inbox_messages using brin (created_at);

create table dead_letters (
    id uuid primary key,
    stream text not null,
    tenant_id text not null,
    partition integer not null,
    position bigint not null,
    subject text not null,
    reason text not null,
    detail text not null,
    headers jsonb not null,
    body bytea not null,
    count integer not null default 1,
    broker_time timestamptz not null,
    created_at timestamptz not null,
    published_at timestamptz,
    replayed_at timestamptz
);
create index dead_letters_unpublished_idx on dead_letters (id) where published_at is null;
create index dead_letters_tenant_idx on dead_letters (tenant_id, id);

create table cursors (
    stream text not null,
    partition integer not null,
    stream_created timestamptz not null,
    sequence bigint not null,
    updated_at timestamptz not null default now(),
    primary key (stream, partition)
) with (fillfactor = 50);

create table leases (
    name text not null,
    resource integer not null,
    owner text not null,
    expires_at timestamptz not null,
    primary key (name, resource)
) with (fillfactor = 50);
create table lease_instances (
    name text not null,
    owner text not null,
    expires_at timestamptz not null,
    primary key (name, owner)
) with (fillfactor = 50);

create table outbox (
    id bigint generated always as identity primary key,
    shard smallint not null,
    events bytea not null,
    event_count integer not null,
    replies bytea not null,
    created_at timestamptz not null default clock_timestamp(),
    published_at timestamptz,
    stream_sequence bigint
);
alter table outbox alter column events set storage external;
create index outbox_unpublished_idx on outbox (id) where published_at is null;
create index outbox_published_idx on outbox (shard, stream_sequence) where stream_sequence is not null;

create table relay_shards (
    shard smallint primary key,
    stream_created timestamptz not null,
    marker_sequence bigint not null
) with (fillfactor = 50);
"""

PARTITIONS = """
do $$
begin
    for p in 0..7 loop
        execute format('create table inbox_messages_%s partition of inbox_messages for values from (%s) to (%s)', p,
            case when p = 0 then 'minvalue' else format('%L', set_byte('\\x00', 0, p * 32)) end,
            case when p = 7 then 'maxvalue' else format('%L', set_byte('\\x00', 0, p * 32 + 32)) end);
    end loop;
end $$;

-- Runs as the owner, so that workers may call it. What landed in the default partition meanwhile moves to its month.
create function rollcall_make_event_partitions(months integer) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    first timestamptz;
    next timestamptz;
    name text;
begin
    for m in 0..months loop
        first := (date_trunc('month', now() at time zone 'utc') + make_interval(months => m)) at time zone 'utc';
        next := (date_trunc('month', now() at time zone 'utc') + make_interval(months => m + 1)) at time zone 'utc';
        name := 'contact_events_' || to_char(first at time zone 'utc', 'YYYY_MM');
        continue when to_regclass(name) is not null;
        perform pg_advisory_xact_lock(hashtext('rollcall_make_event_partitions'));
        continue when to_regclass(name) is not null;
        lock table contact_events_default in access exclusive mode;
        execute format('create table %I (like contact_events including all)', name);
        execute format(
            'with moved as (delete from contact_events_default where created_at >= %L and created_at < %L returning *)
             insert into %I select * from moved', first, next, name);
        execute format('alter table contact_events attach partition %I for values from (%L) to (%L)', name, first, next);
    end loop;
end $$;
revoke execute on function rollcall_make_event_partitions(integer) from public;
select rollcall_make_event_partitions(2);
"""

# Workers write for every tenant of a batch, and by COPY, which row-level security does not allow: the writer is exempt.
# Whoever reads for people is held to one tenant by the session setting; the subselect makes it a constant of the plan.
ROLES = """
do $$
begin
    if not exists (select from pg_roles where rolname = 'rollcall_writer') then
        create role rollcall_writer nologin bypassrls;
    end if;
    if not exists (select from pg_roles where rolname = 'rollcall_reader') then
        create role rollcall_reader nologin;
    end if;
    -- An owner who holds the roles already may not be one who can grant them.
    if not (pg_has_role('rollcall_writer', 'member') and pg_has_role('rollcall_reader', 'member')) then
        execute format('grant rollcall_writer, rollcall_reader to %I', current_user);
    end if;
end $$;
grant execute on function rollcall_make_event_partitions(integer) to rollcall_writer;
grant usage on schema public to rollcall_writer, rollcall_reader;
"""

POLICY = """
alter table {table} enable row level security;
alter table {table} force row level security;
create policy tenant_read on {table} for select to rollcall_reader
    using (tenant_id = (select nullif(current_setting('rollcall.tenant', true), '')));
create policy owner on {table} to current_user using (true) with check (true);
grant select on {table} to rollcall_reader;
grant select, insert, update, delete on {table} to rollcall_writer;
"""


def upgrade() -> None:
    op.execute(SCHEMA)
    op.execute(PARTITIONS)
    op.execute(ROLES)
    for table in TENANT_TABLES:
        op.execute(POLICY.format(table=table))
    for table in (*ENGINE_TABLES, "lease_instances"):
        op.execute(f"grant select, insert, update, delete on {table} to rollcall_writer")
    op.execute("grant select on alembic_version to rollcall_writer, rollcall_reader")


def downgrade() -> None:
    for table in (*TENANT_TABLES, *ENGINE_TABLES, "lease_instances"):
        op.execute(f"drop table {table} cascade")
    op.execute("drop function rollcall_make_event_partitions(integer)")
