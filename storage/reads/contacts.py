"""One contact: who a name stands for, and the document that queries show of it.

``contacts.merged_into`` names the survivor and never another redirect, so one step follows any chain of merges.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    Boolean,
    ColumnElement,
    FromClause,
    Row,
    Select,
    String,
    Text,
    Uuid,
    any_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, aggregate_order_by

from storage.reads.session import TenantReads
from storage.tables import channel_identifiers, contact_tag_mappings, contact_tags, contacts

TENANT = bindparam("tenant", type_=Text)


class AmbiguousError(Exception):
    """An identifier without a scope that belongs to different contacts in different scopes."""


class ById(NamedTuple):
    id: uuid.UUID


class ByExternalId(NamedTuple):
    external_id: str


class ByIdentifier(NamedTuple):
    """``scope`` None: whichever scope has it."""

    kind: str
    identifier: str
    scope: str | None = None


Name = ById | ByExternalId | ByIdentifier


@dataclass(frozen=True, slots=True)
class Found:
    """The contact that answers for a name. ``redirected_from`` is the merged id that the name stood for, if it was one."""

    id: uuid.UUID
    redirected_from: uuid.UUID | None
    document: dict[str, Any] | None = None


_BEFORE_PARTS = (
    "id",
    "external_id",
    "first_name",
    "last_name",
    "display_name",
    "email",
    "phone",
    "avatar_url",
    "status",
    "source",
    "attributes",
)
_AFTER_PARTS = ("last_contact_at", "created_at", "updated_at", "deleted_at", "version")
FIELDS = tuple(contacts.c[name] for name in (*_BEFORE_PARTS, *_AFTER_PARTS))

_IDENTIFIER_FIELDS = (
    "id",
    "channel",
    "scope",
    "identifier",
    "raw",
    "aliases",
    "is_primary",
    "is_verified",
    "shared",
    "metadata",
)


def with_parts(rows: FromClause) -> Select[Any]:
    """The rows (which carry FIELDS) with their identifiers, in the order in which they came, and their tags."""
    i, m, t = channel_identifiers, contact_tag_mappings, contact_tags
    parts: list[ColumnElement[Any]] = []
    for name in _IDENTIFIER_FIELDS:
        parts += (literal_column(f"'{name}'"), i.c[name])
    identifiers = (
        select(func.jsonb_agg(aggregate_order_by(func.jsonb_build_object(*parts), i.c.id)))
        .where(i.c.tenant_id == TENANT, i.c.contact_id == rows.c.id)
        .scalar_subquery()
    )
    tags = (
        select(func.array_agg(t.c.name))
        .select_from(m.join(t, (t.c.tenant_id == m.c.tenant_id) & (t.c.id == m.c.tag_id)))
        .where(m.c.tenant_id == TENANT, m.c.contact_id == rows.c.id)
        .scalar_subquery()
    )
    return select(rows, type_coerce(identifiers, JSONB).label("identifiers"), tags.label("tags"))


def document(row: Row[Any]) -> dict[str, Any]:
    """A row of ``with_parts`` as a ContactDocument of contracts/documents.py."""
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's name for its public mapping
    shown = {name: values[name] for name in _BEFORE_PARTS}
    shown["tags"] = sorted(values["tags"] or ())
    shown["identifiers"] = values["identifiers"] or []
    shown.update((name, values[name]) for name in _AFTER_PARTS)
    return shown


def _candidates(kind: type[Name]) -> Select[Any]:
    """Rows (named, answers): the id that a name stands for, and the contact that answers for it."""
    c = contacts.alias("named")
    # Not coalesce, which the planner takes for leaky: below the tenant policy it would not serve as an index key.
    answers = case((c.c.merged_into.is_(None), c.c.id), else_=c.c.merged_into)
    rows = select(c.c.id.label("named"), answers.label("answers")).where(c.c.tenant_id == TENANT)
    if kind is ById:
        return rows.where(c.c.id == bindparam("id"))
    if kind is ByExternalId:
        return rows.where(c.c.external_id == bindparam("external_id", type_=Text))
    i = channel_identifiers
    scope = bindparam("scope", type_=String)
    owners = select(i.c.contact_id).where(
        i.c.tenant_id == TENANT,
        i.c.kind == bindparam("kind", type_=Text),
        i.c.identifier == bindparam("identifier", type_=String),
        or_(scope.is_(None), i.c.scope == scope),
        i.c.slot == 0,
    )
    return rows.where(c.c.id.in_(owners))


def _find(kind: type[Name], *, whole: bool) -> Select[Any]:
    candidates = _candidates(kind).subquery("candidates")
    found = (
        select(*(FIELDS if whole else FIELDS[:1]), candidates.c.named)
        .join(candidates, contacts.c.id == candidates.c.answers)
        .where(
            contacts.c.tenant_id == TENANT,
            or_(contacts.c.deleted_at.is_(None), bindparam("include_deleted", type_=Boolean)),
        )
        .subquery("found")
    )
    return with_parts(found) if whole else select(found)


_FIND = {
    (kind, whole): _find(kind, whole=whole)
    for kind in (ById, ByExternalId, ByIdentifier)
    for whole in (True, False)
}


async def find(reads: TenantReads, name: Name, *, include_deleted: bool, whole: bool = True) -> Found | None:
    """The contact that answers for the name, with its document if ``whole``. Raises AmbiguousError."""
    rows = await reads.rows(_FIND[type(name), whole], include_deleted=include_deleted, **name._asdict())
    if not rows:
        return None
    if len({row.id for row in rows}) > 1:
        raise AmbiguousError
    row = rows[0]
    return Found(row.id, row.named if row.named != row.id else None, document(row) if whole else None)


_LIVE = (
    select(*FIELDS)
    .where(
        contacts.c.tenant_id == TENANT,
        contacts.c.id == any_(bindparam("ids", type_=ARRAY(Uuid))),
        contacts.c.merged_into.is_(None),
        or_(contacts.c.deleted_at.is_(None), bindparam("include_deleted", type_=Boolean)),
    )
    .subquery("live")
)
_OF_IDS = with_parts(_LIVE)


async def of_ids(
    reads: TenantReads, ids: Sequence[uuid.UUID], *, include_deleted: bool
) -> list[dict[str, Any]]:
    """The documents of these contacts, in this order; those that are gone or redirects are left out."""
    if not ids:
        return []
    rows = await reads.rows(_OF_IDS, ids=list(ids), include_deleted=include_deleted)
    found = {row.id: row for row in rows}
    return [document(found[contact_id]) for contact_id in ids if contact_id in found]
