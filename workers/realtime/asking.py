"""Queries that come over a socket, held to the session's rights and handed on to the queries workers."""

from __future__ import annotations

import uuid
from typing import Any, Final

import nats.errors
import orjson
from nats.aio.client import Client

from contracts import subjects
from contracts.vocabulary import Audience, QueryError, Role
from workers.realtime.rights import Rights

TIMEOUT: Final = 10.0  # seconds
_NOT_FOUND: Final = {
    "success": False,
    "error": {"code": "contact_not_found", "message": "no such contact", "details": {}},
}


class Forbidden(Exception):
    """The session may not ask that; the message says what it may."""


class Unavailable(Exception):
    """Nobody answered."""


async def ask(client: Client, rights: Rights, name: str, data: dict[str, Any]) -> dict[str, Any]:
    """The answer as the queries give it: ``success`` with ``data`` and ``meta``, or ``error``. Raises Forbidden, Unavailable."""
    if rights.role is Role.CONTACT:
        return await _as_client(client, rights, name, data)
    if name == "contact.timeline":
        return await _timeline(client, rights, data)
    if rights.contacts is None:
        return await _request(client, rights.tenant, name, data)
    if name == "contact.list":
        raise Forbidden("contact.list: the token names its contacts; ask for each of them")
    return await _of_the_named(client, rights, name, data)


async def _timeline(client: Client, rights: Rights, data: dict[str, Any]) -> dict[str, Any]:
    """An agent may look at what the contact's client sees, as far as an agent may see it."""
    asked = data.get("contact")
    if rights.contacts is not None and not _is_named(rights, asked):
        found = await _of_the_named(
            client, rights, "contact.get", {"contact": asked, "include_deleted": True}
        )
        if not found["success"]:
            return found
        # By id: the name may be another contact's by now. A merged one's as it was asked, so that `meta` says so again.
        meta = found.get("meta") or {}
        data = {**data, "contact": {"id": meta.get("redirected_from") or found["data"]["id"]}}
    audience = data.get("visible_to")
    if audience is None:
        data = {**data, "visible_to": Audience.AGENT}
    answer = await _request(client, rights.tenant, "contact.timeline", data)
    if answer["success"] and audience == Audience.CLIENT:
        answer["data"] = [event for event in answer["data"] if event["visible_to_agent"]]
    return answer


async def _as_client(client: Client, rights: Rights, name: str, data: dict[str, Any]) -> dict[str, Any]:
    """A contact's client sees its own timeline, and no contact: what a tenant keeps of one is not for it."""
    if name != "contact.timeline":
        raise Forbidden(f"{name}: a contact's client may ask contact.timeline alone")
    asked = data.get("contact")
    if asked is not None and not _is_named(rights, asked):
        raise Forbidden(
            'contact: a contact\'s client may ask for its own timeline alone, as {"id": …} or without contact'
        )
    own = {"contact": {"id": str(rights.own_contact)}, "visible_to": Audience.CLIENT}
    return await _request(client, rights.tenant, name, {**data, **own})


def _is_named(rights: Rights, asked: Any) -> bool:
    """Whether that is the id of a contact of the session's."""
    return isinstance(asked, dict) and set(asked) == {"id"} and _id(asked["id"]) in (rights.contacts or ())


async def _of_the_named(client: Client, rights: Rights, name: str, data: dict[str, Any]) -> dict[str, Any]:
    """The answer of a query for one contact. A stranger is not there; a failure says nothing of whose it was, and allows nothing."""
    answer = await _request(client, rights.tenant, name, data)
    if not answer["success"] and answer["error"]["code"] == QueryError.AMBIGUOUS_REFERENCE:
        return _NOT_FOUND  # or it would say that there are some
    return _NOT_FOUND if answer["success"] and not _allows(rights, answer) else answer


def _allows(rights: Rights, found: dict[str, Any]) -> bool:
    """Whether a contact that was found is one of the session's, by its id or by one that was merged into it."""
    named = {_id(found["data"].get("id")), _id((found.get("meta") or {}).get("redirected_from"))}
    return bool(named & (rights.contacts or frozenset()))


def _id(value: Any) -> uuid.UUID | None:
    try:
        return uuid.UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


async def _request(client: Client, tenant: str, name: str, data: dict[str, Any]) -> dict[str, Any]:
    try:
        reply = await client.request(subjects.query(name, tenant), orjson.dumps(data), timeout=TIMEOUT)
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise Unavailable("no queries worker answered") from error
    answer: dict[str, Any] = orjson.loads(reply.data)
    return answer
