"""What a query handler gives back, and how it refuses."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from pydantic import BaseModel

from storage.reads import contacts
from storage.reads.session import TenantReads
from workers.fold.identity import IdentifierError, canonicalise_inbound
from workers.queries.handlers.context import Context


class Answer(NamedTuple):
    """``data`` and ``meta`` of a success; both as orjson takes them."""

    data: Any
    meta: dict[str, Any]


class Refusal(Exception):
    """A query that is answered with an error; the codes are in docs/queries.md."""

    def __init__(self, code: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details or {}


Handler = Callable[[Context, Any], Awaitable[Answer]]


def invalid(errors: list[dict[str, str]]) -> Refusal:
    """The refusal of a request by its fields, each {"field", "message"}."""
    text = "; ".join(
        f"{error['field']}: {error['message']}" if error["field"] else error["message"] for error in errors
    )
    return Refusal("invalid", text, {"errors": errors})


def too_large(what: str, most_bytes: int) -> Refusal:
    return Refusal("too_large", f"the answer {what}, the broker takes {most_bytes}; ask for a smaller page")


def bad_cursor() -> Refusal:
    return invalid([{"field": "cursor", "message": "not a cursor of this list; begin again without one"}])


def name_of(
    *,
    id: uuid.UUID | None = None,  # noqa: A002 - the field's name
    external_id: str | None = None,
    channel: str | None = None,
    identifier: str | None = None,
    scope: str | None = None,
    region: str | None,
    within: str = "",
) -> contacts.Name:
    """How storage looks the contact up; ``within`` is put before the field of a refusal.

    An identifier is looked up as a provider's would be: what was kept as it came must be found as it came.
    """
    if id is not None:
        return contacts.ById(id)
    if external_id is not None:
        return contacts.ByExternalId(external_id)
    try:
        key = canonicalise_inbound(channel or "", identifier or "", scope or "", region)
    except IdentifierError as error:
        raise invalid([{"field": within + error.field, "message": error.message}]) from None
    return contacts.ByIdentifier(key.kind, key.identifier, scope)


async def found(
    reads: TenantReads, name: contacts.Name, *, include_deleted: bool, whole: bool = True
) -> contacts.Found:
    """The contact of the name. Raises Refusal where there is none, or more than one."""
    try:
        contact = await contacts.find(reads, name, include_deleted=include_deleted, whole=whole)
    except contacts.AmbiguousError:
        raise Refusal(
            "ambiguous_reference", "the identifier belongs to different contacts; say which scope"
        ) from None
    if contact is None:
        raise Refusal("contact_not_found", "no such contact")
    return contact


def redirected(contact: contacts.Found) -> dict[str, Any]:
    """What ``meta`` says where the name was of a merged contact."""
    return {"redirected_from": contact.redirected_from} if contact.redirected_from else {}


PAGING = frozenset({"cursor", "page", "page_size", "limit", "count", "total", "wait_for"})


def asked(name: str, context: Context, request: BaseModel, **resolved: Any) -> dict[str, Any]:
    """What a cursor is bound to: the query, the tenant, and what the request selects and sorts by.

    How much of it a page shows, and when, is left out, so that a reader may change its mind.
    """
    selecting = request.model_dump(mode="json", exclude=set(PAGING), exclude_none=True)
    return {"query": name, "tenant": context.tenant, **selecting, **{k: str(v) for k, v in resolved.items()}}
