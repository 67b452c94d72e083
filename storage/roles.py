"""What the two roles may do: the inspection behind `rollcall doctor` and the tests of row-level security.

The list of tables comes from the catalog, so that a new table with tenants in it and no policy is found.
"""

from __future__ import annotations

from typing import NamedTuple

import asyncpg

from storage.postgres import READER, WRITER

MIGRATE = "run `rollcall migrate`"


class Finding(NamedTuple):
    """One thing looked at: what is the case, and how to mend it where it is not ``ok``; None: could not be looked at."""

    name: str
    ok: bool | None
    detail: str
    mend: str = ""


# memberships are followed: a role may do what the roles do that it can become
_ROLE = """
select r.rolsuper, r.rolbypassrls,
    array(select m.rolname::text from pg_roles m
          where m.oid <> r.oid and pg_has_role(r.oid, m.oid, 'member') order by 1) as memberships
from pg_roles r where r.rolname = $1
"""

# policies: those that apply to the role, its own and everybody's; sound: of these, that compare the row's tenant with
# the session's. What an extension brings along (statistics) is its own affair.
_TABLES = """
select c.oid::regclass::text as name, c.relkind in ('r', 'p') and not c.relispartition as whole_table, c.relrowsecurity as enabled,
    c.relforcerowsecurity as forced,
    exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped) as tenant,
    has_any_column_privilege(r.oid, c.oid, 'select') as readable,
    has_table_privilege(r.oid, c.oid, 'insert,update,delete,truncate')
        or has_any_column_privilege(r.oid, c.oid, 'insert,update') as writable,
    c.relowner = r.oid as owned,
    (select count(*) from pg_policy p where p.polrelid = c.oid and p.polpermissive and p.polcmd in ('r', '*')
        and (r.oid = any (p.polroles) or 0 = any (p.polroles))) as policies,
    (select count(*) from pg_policy p where p.polrelid = c.oid and p.polpermissive and p.polcmd in ('r', '*')
        and (r.oid = any (p.polroles) or 0 = any (p.polroles))
        and pg_get_expr(p.polqual, p.polrelid) like '%tenant_id = %rollcall.tenant%') as sound
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
cross join (select oid from pg_roles where rolname = $1) r
where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname not in ('pg_catalog', 'information_schema')
    and n.nspname not like 'pg\\_%'
    and not exists (select from pg_depend d where d.objid = c.oid and d.classid = 'pg_class'::regclass and d.deptype = 'e')
order by 1
"""

_SHARED = frozenset({"alembic_version"})  # readable without a tenant: it speaks of none


async def inspect(connection: asyncpg.Connection) -> list[Finding]:
    """What is so with the roles and policies of this database; any role may ask."""
    findings = [await _role(connection, READER), await _role(connection, WRITER)]
    tables = await connection.fetch(_TABLES, READER)
    if not tables:  # no such role, or nothing migrated
        return findings
    of_tenants = [t for t in tables if t["tenant"] and t["whole_table"]]
    exposed = [t["name"] for t in tables if t["readable"] and t["name"] not in _SHARED and not _held(t)]
    writable = [t["name"] for t in tables if t["writable"] or t["owned"]]
    return [
        *findings,
        _finding(
            "tenant tables",
            [t["name"] for t in of_tenants if not _held(t)],
            f"{len(of_tenants)} tables force the tenant policy",
            "without a forced tenant policy:",
            "add the policy in the migration that makes the table",
        ),
        _finding(
            "engine tables",
            exposed,
            f"{READER} reads nothing but tenant tables",
            f"{READER} can read past a tenant policy:",
            f"revoke select on these from {READER}",
        ),
        _finding(
            "read only",
            writable,
            f"{READER} can write no table",
            f"{READER} can write",
            f"revoke insert, update, delete, truncate on these from {READER}",
        ),
    ]


def _finding(name: str, found: list[str], right: str, wrong: str, mend: str) -> Finding:
    if not found:
        return Finding(name, ok=True, detail=right)
    return Finding(name, ok=False, detail=f"{wrong} {', '.join(found)}", mend=mend)


def _held(table: asyncpg.Record) -> bool:
    """Whether the table's rows show only under the session's tenant."""
    return bool(
        table["enabled"] and table["forced"] and table["policies"] and table["policies"] == table["sound"]
    )


async def _role(connection: asyncpg.Connection, name: str) -> Finding:
    """The reader must be held by row-level security. The writer must be exempt, for COPY refuses tables that hold it."""
    label = "read role" if name == READER else "write role"
    row = await connection.fetchrow(_ROLE, name)
    if row is None:
        return Finding(label, ok=False, detail=f"there is no role {name}", mend=MIGRATE)
    mends: dict[str, str] = {}
    if row["rolsuper"]:
        mends["a superuser"] = f"alter role {name} nosuperuser"
    elif row["memberships"]:
        others = ", ".join(row["memberships"])
        mends[f"a member of {others}"] = f"revoke {others} from {name}"
    if name == READER and row["rolbypassrls"]:
        mends["exempt from row-level security"] = f"alter role {name} nobypassrls"
    if name == WRITER and not row["rolbypassrls"]:
        mends["held by row-level security, so that it cannot COPY"] = f"alter role {name} bypassrls"
    if mends:
        return Finding(
            label, ok=False, detail=f"{name} is {' and '.join(mends)}", mend="; ".join(mends.values())
        )
    if name == READER:
        return Finding(
            label, ok=True, detail=f"{name} is neither superuser nor exempt from row-level security"
        )
    return Finding(
        label, ok=True, detail=f"{name} is no superuser, and exempt from row-level security, to COPY"
    )
