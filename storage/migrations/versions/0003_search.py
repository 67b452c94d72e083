"""Search: the index and the function that find contacts in PostgreSQL, and where Elasticsearch stands.

- The reader's transactions are held to one tenant by a policy, and below a policy the planner does not use a trigram index,
  because LIKE is not leakproof. ``rollcall_search`` runs as the writer instead, and takes the tenant from the session alone.
- ``search_state`` and ``search_rebuilds`` are the indexer's: which index is live, which one is being built, how far.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

SCHEMA = """
-- One index, so that what waits to be sorted into it waits in one place. The tenant is in it, as an array because GIN has no
-- operators for text, so that of what is frequent among all tenants only one tenant's rows are read.
do $$
declare
    home text := (select extnamespace::regnamespace::text from pg_extension where extname = 'pg_trgm');
begin
    execute format('create index contacts_search_idx on contacts using gin '
        '((array[tenant_id]), search_text %s.gin_trgm_ops, attributes jsonb_path_ops)', home);
end $$;

create table search_state (
    singleton boolean primary key default true check (singleton),
    live_index text,
    next_index text,
    caught_up_at timestamptz,
    caught_up_sequence bigint
);
insert into search_state default values;
grant select, insert, update, delete on search_state to rollcall_writer;

create table search_rebuilds (
    id uuid primary key,
    tenant_id text,
    index_name text,
    status text not null default 'waiting' check (status in ('waiting', 'running', 'done', 'failed')),
    total bigint,
    done bigint not null default 0,
    position_tenant text,
    position_id uuid,
    error text,
    owner text,
    lease_until timestamptz,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    updated_at timestamptz not null default now(),
    finished_at timestamptz
);
create unique index search_rebuilds_unfinished_key on search_rebuilds (coalesce(tenant_id, ''))
    where status in ('waiting', 'running');
alter table search_rebuilds enable row level security;
alter table search_rebuilds force row level security;
create policy tenant_read on search_rebuilds for select to rollcall_reader
    using (tenant_id is null or tenant_id = (select nullif(current_setting('rollcall.tenant', true), '')));
create policy owner on search_rebuilds to current_user using (true) with check (true);
grant select (id, tenant_id, index_name, status, total, done, error, created_at, started_at, updated_at, finished_at)
    on search_rebuilds to rollcall_reader;
grant select, insert, update, delete on search_rebuilds to rollcall_writer;
"""


FUNCTION = r"""
create type rollcall_criteria as (
    -- [{"likes": patterns one of which matches, "near": the same with a typing error, as [{"find": patterns for the index,
    -- "check": patterns one of which matches as well, if there are any}], "spellings": what the rank goes by}]
    terms jsonb,
    status text,
    source text,
    tags text[],
    all_tags boolean,
    attributes jsonb,
    created_after timestamptz,
    created_before timestamptz,
    updated_after timestamptz,
    last_contact_before timestamptz,
    has_email boolean,
    has_phone boolean,
    include_deleted boolean,
    sort_by text,
    descending boolean,
    after_id uuid,  -- null: from the beginning; with it the one key that sort_by asks for, null where the hit has none
    after_rank integer,
    after_time timestamptz,
    after_name text,
    first integer,  -- hits to pass over
    size integer,
    exact boolean  -- the total is, however many there are
);

-- What a statement did. Runs as its caller, and only rollcall_search may call it.
create function rollcall_explain(
    wanted boolean, statement text, tenant text, criteria rollcall_criteria, texts text[], tag_ids uuid[], points uuid[]
) returns text language plpgsql as $$
declare
    line text;
    lines text := '';
begin
    if wanted then
        for line in execute 'explain (analyze, buffers) ' || statement using tenant, criteria, texts, tag_ids, points loop
            lines := lines || line || chr(10);
        end loop;
        lines := lines || chr(10);
    end if;
    return lines;
end $$;

-- Every statement is put together from the fragments below, and every value is a parameter of it: $1 the tenant, $2 the
-- criteria, $3 patterns and spellings of the terms, $4 ids of the tags, $5 ids to look from. Each is planned for its values.
create function rollcall_search(
    asked jsonb, explained boolean default false,
    out ids uuid[], out total integer, out more boolean, out last jsonb, out plans text
) language plpgsql security definer
set search_path = public, pg_temp
set jit = off set work_mem = '32MB' set max_parallel_workers_per_gather = 0
set enable_seqscan = off set enable_indexscan = on set enable_indexonlyscan = on set enable_bitmapscan = on
as $$
declare
    counted constant integer := 10000;  -- hits; of more than these none is ranked, and the newest come first
    frequent constant double precision := 0.12;  -- of the tenant's contacts: reading them all is faster than their index
    spelled constant integer := 100;  -- contacts that have a word: it is spelled so
    walked constant integer := 100000;  -- contacts that may be read on the way to a page

    tenant text := current_setting('rollcall.tenant', true);
    criteria rollcall_criteria := jsonb_populate_record(null::rollcall_criteria, asked);
    texts text[] := '{}';
    tag_ids uuid[];
    term jsonb;
    spelling text;
    conditions text;
    literal text[] := '{}';  -- of each term, the condition to the letter
    near text[] := '{}';  -- the same where it may have a typing error; null: it may not
    matching_term integer[];
    holders integer;
    way jsonb;
    ways text[];
    middle integer;
    rank text := '0';
    best text[];
    at integer;
    low bigint;
    high bigint;
    points uuid[];
    sampled integer;
    matching integer;
    likely double precision;
    plan json;
    own text;
    rare boolean;
    key text;
    direction text;
    sign text;
    named text;
    unkeyed boolean;  -- the position has no key
    beyond text;
    capped boolean;
    sorted text;
    parts text[];
    page text;
    statement text;
    keys jsonb[];
begin
    if coalesce(tenant, '') = '' then
        raise exception 'a search needs a tenant: rollcall.tenant is not set' using errcode = 'insufficient_privilege';
    end if;
    ids := '{}';
    total := 0;
    more := false;
    plans := '';

    -- What contacts must have.
    conditions := 'c.tenant_id = $1 and c.merged_into is null'
        || case when criteria.include_deleted then '' else ' and c.deleted_at is null' end
        || case when criteria.status is null then '' else ' and c.status = ($2).status' end
        || case when criteria.source is null then '' else ' and c.source = ($2).source' end
        || case when criteria.attributes is null then '' else ' and c.attributes @> ($2).attributes' end
        || case when criteria.created_after is null then '' else ' and c.created_at > ($2).created_after' end
        || case when criteria.created_before is null then '' else ' and c.created_at < ($2).created_before' end
        || case when criteria.updated_after is null then '' else ' and c.updated_at > ($2).updated_after' end
        || case when criteria.last_contact_before is null then '' else ' and c.last_contact_at < ($2).last_contact_before' end
        || case criteria.has_email when true then ' and c.email is not null' when false then ' and c.email is null' else '' end
        || case criteria.has_phone when true then ' and c.phone is not null' when false then ' and c.phone is null' else '' end;
    if criteria.tags is not null then
        tag_ids := array(select t.id from contact_tags t where t.tenant_id = tenant and t.name = any (criteria.tags));
        if cardinality(tag_ids) < (case when criteria.all_tags then cardinality(criteria.tags) else 1 end) then
            return;
        end if;
        for n in 1..case when criteria.all_tags then cardinality(tag_ids) else 1 end loop
            conditions := conditions || ' and exists (select from contact_tag_mappings m where m.tenant_id = $1'
                || ' and m.contact_id = c.id and m.tag_id = '
                || case when criteria.all_tags then format('($4)[%s])', n) else 'any ($4))' end;
        end loop;
    end if;

    -- The terms: a condition to the letter, one that takes a typing error, and the rank.
    for term in select jsonb_array_elements(criteria.terms) loop
        at := cardinality(texts);
        texts := texts || array(select jsonb_array_elements_text(term -> 'likes'));
        literal := literal || case when cardinality(texts) = at + 1 then format('c.search_text like ($3)[%s]', at + 1)
            else format('c.search_text like any (($3)[%s:%s])', at + 1, cardinality(texts)) end;
        ways := literal[cardinality(literal):];
        for way in select jsonb_array_elements(term -> 'near') loop
            at := cardinality(texts);
            texts := texts || array(select jsonb_array_elements_text(way -> 'find'));
            middle := cardinality(texts);
            texts := texts || array(select jsonb_array_elements_text(way -> 'check'));
            ways := ways || format(case when cardinality(texts) > middle
                then '(c.search_text like any (($3)[%s:%s]) and c.search_text || '''' like any (($3)[%s:%s]))'
                else 'c.search_text like any (($3)[%s:%s])' end, at + 1, middle, middle + 1, cardinality(texts));
        end loop;
        near := near || case when cardinality(ways) > 1 then format('(%s)', array_to_string(ways, ' or ')) end;
        best := '{}';
        for spelling in select jsonb_array_elements_text(term -> 'spellings') loop
            texts := texts || spelling;
            best := best || replace($rank$case
                when strpos(c.search_text, E'\n ' || ($3)[n] || E' \n') > 0 then 4
                when strpos(c.search_text, ' ' || ($3)[n] || ' ') > 0 then 3
                when strpos(c.search_text, ' ' || ($3)[n]) > 0 then 2
                when strpos(c.search_text, ($3)[n]) > 0 then 1 else 0 end$rank$, '[n]', format('[%s]', cardinality(texts)));
        end loop;
        rank := rank || format(' + greatest(%s)', array_to_string(best, ', '));
    end loop;

    -- How frequent is it? Seen in contacts from 16 places, evenly between the tenant's first id and its last.
    select ('x' || left(replace(c.id::text, '-', ''), 12))::bit(48)::bigint into low
        from contacts c where c.tenant_id = tenant order by c.id limit 1;
    select ('x' || left(replace(c.id::text, '-', ''), 12))::bit(48)::bigint into high
        from contacts c where c.tenant_id = tenant order by c.id desc limit 1;
    if low is null then
        return;
    end if;
    points := array(select rpad(lpad(to_hex(low + (high - low) / 16 * n), 12, '0'), 32, '0')::uuid
        from generate_series(0, 15) n);
    statement := format('select count(*), count(*) filter (where %s), array[%s]::integer[]'
        ' from unnest($5) p, lateral (select * from contacts where tenant_id = $1 and id >= p order by id limit 64) c',
        array_to_string(conditions || literal, ' and '),
        array_to_string(array(select format('count(*) filter (where %s)', one) from unnest(literal) one), ', '));
    execute statement into sampled, matching, matching_term using tenant, criteria, texts, tag_ids, points;
    plans := plans || rollcall_explain(explained, statement, tenant, criteria, texts, tag_ids, points);
    likely := greatest(matching, 0.5) / sampled;

    -- Where the index has mostly other tenants' contacts, it is asked for the tenant's.
    execute 'explain (format json) select from contacts where tenant_id = $1' into plan using tenant;
    own := case when (plan -> 0 -> 'Plan' ->> 'Plan Rows')::double precision
        < (select reltuples from pg_class where oid = 'contacts'::regclass) / 2
        then ' and array[c.tenant_id] @> array[$1]' else '' end;

    -- A word that many contacts have is spelled right; only the others may have a typing error.
    for n in 1..cardinality(near) loop
        continue when near[n] is null;
        rare := matching_term[n] < sampled * frequent;
        perform set_config(case when rare then 'enable_indexscan' else 'enable_bitmapscan' end, 'off', true);
        statement := format('select count(*) from (select from contacts c where c.tenant_id = $1 and %s limit %s) c',
            literal[n] || case when rare then own else '' end, spelled + 1);
        execute statement into holders using tenant, criteria, texts, tag_ids, points;
        plans := plans || rollcall_explain(explained, statement, tenant, criteria, texts, tag_ids, points);
        perform set_config('enable_indexscan', 'on', true), set_config('enable_bitmapscan', 'on', true);
        if holders <= spelled then
            literal[n] := near[n];
        end if;
    end loop;

    -- One index decides, by how frequent it is: that of the tenant's contacts, from the newest on, or that of what was asked for.
    if likely >= frequent then
        perform set_config('enable_bitmapscan', 'off', true);
    elsif cardinality(literal) > 0 or criteria.attributes is not null then
        perform set_config('enable_indexscan', 'off', true), set_config('enable_indexonlyscan', 'off', true);
        conditions := conditions || own;
    end if;
    conditions := array_to_string(conditions || literal, ' and ');

    -- The order, and what lies beyond the position in it.
    direction := case when criteria.descending then 'desc' else 'asc' end;
    sign := case when criteria.descending then '<' else '>' end;
    named := case criteria.sort_by when 'relevance' then 'after_rank' when 'display_name' then 'after_name' else 'after_time' end;
    key := case criteria.sort_by when 'created_at' then 'c.created_at' when 'updated_at' then 'c.updated_at'
        when 'display_name' then 'c.display_name' when 'last_contact_at' then 'c.last_contact_at' else rank end;
    unkeyed := num_nonnulls(criteria.after_rank, criteria.after_time, criteria.after_name) = 0;
    if criteria.sort_by = 'relevance' and criteria.after_id is not null and unkeyed then
        key := 'null::integer';  -- the page before was not ranked
    end if;
    beyond := case when criteria.after_id is null then 'true'
        when unkeyed then format('key is null and id %s ($2).after_id', sign)
        else format('((key, id) %s (($2).%s, ($2).after_id) or key is null)', sign, named) end;
    page := format('select array_agg(p.id) as ids, array_agg(to_jsonb(p.key)) as keys from (select id, key from hits where %s'
        ' order by key %s nulls last, id %s offset ($2).first limit ($2).size + 1) p', beyond, direction, direction);

    -- All hits, as far as they are counted; where their order has no index, or follows a rank, whatever their number.
    capped := criteria.after_rank is null and criteria.sort_by <> 'last_contact_at';
    statement := format('with hits as materialized (select c.id, %s as key from contacts c where %s%s)'
        ' select (select count(*) from (select from hits limit %s) h), page.ids, page.keys from (%s) page',
        key, conditions, case when likely >= frequent then ' order by c.id desc' else '' end
        || case when capped then format(' limit %s', counted + 1) else '' end, counted + 1, page);
    execute statement into total, ids, keys using tenant, criteria, texts, tag_ids, points;
    plans := plans || rollcall_explain(explained, statement, tenant, criteria, texts, tag_ids, points);

    if total > counted and criteria.exact then
        statement := format('select count(*) from contacts c where %s', conditions);
        execute statement into total using tenant, criteria, texts, tag_ids, points;
        plans := plans || rollcall_explain(explained, statement, tenant, criteria, texts, tag_ids, points);
    end if;

    -- More than are counted: the page is read off the index of its order; one too far for that is sorted out of all hits.
    if total > counted and capped then
        if criteria.sort_by = 'relevance' then
            key := 'null::integer';
        end if;
        if (criteria.first + criteria.size) / likely > walked then
            statement := format('with hits as materialized (select c.id, %s as key from contacts c where %s) %s',
                key, conditions, page);
        else
            perform set_config('enable_bitmapscan', 'off', true), set_config('enable_indexscan', 'on', true);
            sorted := case when criteria.sort_by = 'relevance' then 'c.id' else key || ' ' || direction || ', c.id' end;
            parts := array[case
                when criteria.after_id is null then 'true'
                when unkeyed then format('c.id %s ($2).after_id', sign)
                else format('(%s, c.id) %s (($2).%s, ($2).after_id)', key, sign, named) end];
            if criteria.sort_by = 'display_name' then  -- the index has its nulls first when it is read backwards
                parts := case when criteria.after_id is null or not unkeyed
                    then array[parts[1] || ' and c.display_name is not null', 'c.display_name is null']
                    else array[parts[1] || ' and c.display_name is null'] end;
            end if;
            statement := format('select array_agg(p.id), array_agg(to_jsonb(p.key)) from (select id, key from (%s) u'
                ' order by part, key %s, id %s offset ($2).first limit ($2).size + 1) p',
                array_to_string(array(select format('(select c.id, %s as key, %s as part from contacts c where %s and %s'
                    ' order by %s %s limit ($2).first + ($2).size + 1)', key, n, conditions, parts[n], sorted, direction)
                    from generate_subscripts(parts, 1) n), ' union all '), direction, direction);
        end if;
        execute statement into ids, keys using tenant, criteria, texts, tag_ids, points;
        plans := plans || rollcall_explain(explained, statement, tenant, criteria, texts, tag_ids, points);
    end if;
    more := coalesce(cardinality(ids), 0) > criteria.size;
    ids := coalesce(ids[:criteria.size], '{}');
    last := keys[cardinality(ids)];
end $$;

create function rollcall_explain_search(asked jsonb) returns text
language sql as 'select plans from rollcall_search(asked, true)';

revoke execute on function rollcall_explain, rollcall_search, rollcall_explain_search from public;
grant execute on function rollcall_explain to rollcall_writer;
grant execute on function rollcall_search, rollcall_explain_search to rollcall_reader;

-- A new owner must be one who could have made it.
grant create on schema public to rollcall_writer;
alter function rollcall_search owner to rollcall_writer;
revoke create on schema public from rollcall_writer;
"""


def upgrade() -> None:
    op.execute(SCHEMA)
    op.execute(FUNCTION)


def downgrade() -> None:
    op.execute("drop table search_rebuilds, search_state")
    op.execute("drop function rollcall_explain_search, rollcall_search, rollcall_explain")
    op.execute("drop type rollcall_criteria")
    op.execute("drop index contacts_search_idx")
