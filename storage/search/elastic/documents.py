"""The document of a contact, made from what PostgreSQL holds of it.

A deleted or merged contact stays as a document of its version that no search finds: Elasticsearch forgets the version of a
deleted document after a minute, and a late write would bring it back.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

import asyncpg
import orjson

from storage.contacts import ContactKey
from storage.search.criteria import Scalar
from storage.search.text import values, words

# Of a contact. The commands hold a contact's attributes to 256,000 bytes, which no 40,000 of them fit into.
MOST_ATTRIBUTES = 40_000
LONG = 200  # bytes of a token; of a longer one only the digest is kept

_COLUMNS = """
c.tenant_id, c.id, c.version, c.deleted_at is not null or c.merged_into is not null as gone, c.search_text, c.display_name,
    c.status, c.source, c.attributes, c.email is not null as has_email, c.phone is not null as has_phone, c.created_at,
    c.updated_at, array(
        select t.name
        from contact_tag_mappings m, lateral (
            select name from contact_tags where tenant_id = m.tenant_id and id = m.tag_id offset 0
        ) as t
        where m.tenant_id = c.tenant_id and m.contact_id = c.id
    ) as tags
"""

LOAD = f"""
select {_COLUMNS}
from unnest($1::text[], $2::uuid[]) as k(tenant_id, id),
lateral (select * from contacts where tenant_id = k.tenant_id and id = k.id offset 0) as c
"""

_SCAN = f"""
select {_COLUMNS} from contacts c
where {{after}} and c.deleted_at is null and c.merged_into is null
order by c.tenant_id, c.id limit $3
"""
SCAN = _SCAN.format(after="(c.tenant_id, c.id) > ($1::text, $2::uuid)")
SCAN_TENANT = _SCAN.format(after="c.tenant_id = $1::text and c.id > $2::uuid")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BEFORE_ALL: ContactKey = ("", uuid.UUID(int=0))


@dataclass(frozen=True, slots=True)
class Document:
    """``source`` is what is indexed; ``version`` is the contact's."""

    tenant_id: str
    id: uuid.UUID
    version: int
    source: dict[str, Any]


async def load(connection: asyncpg.Connection, keys: Sequence[ContactKey]) -> dict[ContactKey, Document]:
    """The present documents of these contacts, as the writer. Contacts that never were are absent."""
    rows = await connection.fetch(LOAD, [k[0] for k in keys], [k[1] for k in keys])
    return {(row["tenant_id"], row["id"]): _document(row) for row in rows}


async def scan(
    connection: asyncpg.Connection, tenant: str | None, after: ContactKey | None, limit: int
) -> list[Document]:
    """The documents of the next contacts after that key, in order, of one tenant or of all; the deleted are left out.

    Fewer than ``limit`` are the last.
    """
    at, contact_id = after or _BEFORE_ALL
    if tenant is None:
        rows = await connection.fetch(SCAN, at, contact_id, limit)
    else:
        rows = await connection.fetch(SCAN_TENANT, tenant, contact_id, limit)
    return [_document(row) for row in rows]


def weight(found: Iterable[Document]) -> int:
    """The tokens of their attributes, which nearly all of a large document is made of."""
    return sum(len(document.source.get("attributes", ())) for document in found)


def attribute(key: str, value: Scalar) -> str:
    """An attribute as one token, such as ``plan="gold"``: two are equal where PostgreSQL finds the JSON values equal."""
    token = f"{key}={_canonical(value)}"
    encoded = token.encode()
    return token if len(encoded) <= LONG else f"#{hashlib.blake2b(encoded, digest_size=16).hexdigest()}"


def microseconds(at: datetime) -> int:
    """Since 1970; ``moment`` is the way back."""
    return (at - _EPOCH) // _MICROSECOND


def moment(microseconds: int) -> datetime:
    return _EPOCH + microseconds * _MICROSECOND


def _canonical(value: Scalar) -> str:
    """1, 1.0 and 1e0 are one number; a quoted "1" is text, and the quotes keep tokens apart from each other."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return orjson.dumps(value).decode()
    number = Decimal(repr(value))
    return str(number.normalize()) if number else "0"


def _attributes(attributes: Mapping[str, Any]) -> Iterator[str]:
    for key, value in attributes.items():
        if isinstance(value, str | int | float):
            yield attribute(key, value)


def _document(row: asyncpg.Record) -> Document:
    tenant, contact_id, version = row["tenant_id"], row["id"], row["version"]
    source: dict[str, Any] = {
        "tenant_id": tenant,
        "contact_id": str(contact_id),
        "version": version,
        "deleted": row["gone"],
    }
    if not row["gone"]:
        attributes = orjson.loads(row["attributes"])
        company = attributes.get("company")
        source |= {
            "words": words(row["search_text"]),
            "values": values(row["search_text"]),
            "display_name": row["display_name"],
            "status": row["status"],
            "source": row["source"],
            "tags": row["tags"],
            "lists": [],  # until there are lists
            "company": company if isinstance(company, str) else None,
            "attributes": list(islice(_attributes(attributes), MOST_ATTRIBUTES)),
            "has_email": row["has_email"],
            "has_phone": row["has_phone"],
            "created_at": microseconds(row["created_at"]),
            "updated_at": microseconds(row["updated_at"]),
        }
    return Document(tenant, contact_id, version, source)
