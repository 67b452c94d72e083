"""How long timelines are kept: months that are over go whole, expired events row by row.

Only the owner may drop a partition, so the workers call functions that run as the owner. Neither takes a month as its
argument: what goes follows from the database's clock and the number of months that are kept.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

FUNCTIONS = """
-- The first moment of the oldest month that is kept: of the months that are over, so many whole ones.
create function rollcall_timeline_begins(months integer) returns timestamptz
language plpgsql stable as $$
begin
    if months is null or months < 1 then
        raise invalid_parameter_value using message = 'a timeline is kept for one month at least';
    end if;
    return date_trunc('month', now() at time zone 'utc' - make_interval(months => months)) at time zone 'utc';
end $$;

-- Drops the oldest month that is over and answers its name, or null where there is none. One a call, so that the parent is
-- locked for as long as one drop takes. Whoever waits for a lock keeps later writers waiting behind it: not for long.
create function rollcall_drop_event_month(months integer) returns text
language plpgsql security definer
set search_path = public, pg_temp set timezone = 'UTC' set datestyle = 'ISO' set lock_timeout = '500ms' as $$
declare
    begins timestamptz := rollcall_timeline_begins(months);
    name text;
begin
    select month.name into name from (
        select c.oid::regclass::text as name,
            substring(pg_get_expr(c.relpartbound, c.oid) from $re$TO \\('([^']+)'\\)$re$)::timestamptz as ends
        from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'contact_events'::regclass
    ) as month
    where month.ends <= begins
    order by month.ends limit 1;
    if name is not null then
        execute format('drop table %s', name);
    end if;
    return name;
end $$;

-- Rows that are as old and lie in the default partition, because their month had none of its own. At most so many.
create function rollcall_delete_old_events(months integer, most integer) returns integer
language plpgsql security definer set search_path = public, pg_temp set enable_seqscan = on as $$
declare
    begins timestamptz := rollcall_timeline_begins(months);
    gone integer;
begin
    delete from contact_events_default where ctid = any (array(
        select ctid from contact_events_default where created_at < begins limit most for update skip locked
    ));
    get diagnostics gone = row_count;
    return gone;
end $$;

revoke execute on function rollcall_timeline_begins, rollcall_drop_event_month, rollcall_delete_old_events from public;
grant execute on function rollcall_drop_event_month, rollcall_delete_old_events to rollcall_writer;
"""


def upgrade() -> None:
    op.execute(FUNCTIONS)


def downgrade() -> None:
    op.execute(
        "drop function rollcall_delete_old_events, rollcall_drop_event_month, rollcall_timeline_begins"
    )
