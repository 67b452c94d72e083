"""contact.create, upsert, update, delete, restore. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from contracts.commands.contact import (
    TAGS,
    ContactCreate,
    ContactDelete,
    ContactRestore,
    ContactUpdate,
    ContactUpsert,
)
from storage.rows import Contact, IdentifierKey
from workers.engine.record import Outcome
from workers.fold.directory import Rejection, Scratch
from workers.fold.equality import same_json
from workers.fold.handlers.claim import Claim
from workers.fold.handlers.command import (
    Prepared,
    find,
    give,
    given_by,
    invalid,
    reject_deleted,
    reject_taken,
    require,
)
from workers.fold.handlers.resolve import conflict, external_key, strongest

ATTRIBUTES_BYTES = 256_000  # of a contact's attributes as JSON, so that its events always fit the bus

NAMES = ("first_name", "last_name", "avatar_url", "source")  # fields that are plain text


def create(scratch: Scratch, command: Prepared) -> Outcome:
    model: ContactCreate = command.model
    if model.external_id is not None:
        _reject_external_id(scratch, model.external_id, None)
    for claimed in command.claims:
        owner = scratch.owner(claimed.key)
        if owner is not None:
            reject_taken(scratch, owner, claimed)
    contact = scratch.create(model.source)
    contact.external_id = model.external_id
    contact.first_name, contact.last_name, contact.avatar_url = (
        model.first_name,
        model.last_name,
        model.avatar_url,
    )
    contact.status = str(model.status) if model.status else "active"
    _set_attributes(contact, model.attributes or {})
    _set_tags(contact, frozenset(model.tags or ()))
    give(scratch, contact.id, command.claims)
    return Outcome("applied", contact.id)


def upsert(scratch: Scratch, command: Prepared) -> Outcome:
    model: ContactUpsert = command.model
    owners: dict[IdentifierKey, uuid.UUID] = {
        claimed.key: owner for claimed in command.claims if (owner := scratch.owner(claimed.key)) is not None
    }
    if model.external_id is not None:
        owner = scratch.by_external_id(model.external_id)
        if owner is not None:
            owners[external_key(model.external_id)] = owner
    claims = command.claims
    external_id = model.external_id
    if command.reference is not None:
        named = find(scratch, command.reference)
        if named is not None:
            chosen = named.id
        elif command.reference.id is not None:
            raise Rejection("contact_not_found", "contact.id: no contact of this tenant has it")
        else:
            chosen = None
            external_id = external_id or command.reference.external_id
            if (named_by := given_by(command.reference)) is not None:
                claims = (*claims, named_by)
    else:
        chosen = None
    if chosen is None and owners:
        chosen = strongest(scratch, owners)
    if chosen is None:
        contact = scratch.create(model.source)
        contact.status = str(model.status) if model.status else "active"
    else:
        contact = scratch.contact(chosen)
        if contact.deleted_at is not None:
            reject_deleted(contact)
        if any(owner != contact.id for owner in owners.values()):
            conflict(scratch, contact.id, owners)
    free = tuple(c for c in claims if owners.get(c.key) in (None, contact.id))
    if external_id is not None and owners.get(external_key(external_id)) not in (None, contact.id):
        external_id = None
    _fill(
        scratch, contact.id, model, external_id, free, overwrite=chosen is None or model.mode == "overwrite"
    )
    return Outcome("applied", contact.id)


def _fill(
    scratch: Scratch,
    contact_id: uuid.UUID,
    model: ContactUpsert,
    external_id: str | None,
    claims: tuple[Claim, ...],
    *,
    overwrite: bool,
) -> None:
    contact = scratch.edit(contact_id)
    for name in NAMES:
        given = getattr(model, name)
        if given is not None and (overwrite or not getattr(contact, name)):
            setattr(contact, name, given)
    if external_id is not None and (overwrite or not contact.external_id):
        contact.external_id = external_id
    if model.status is not None and overwrite:
        contact.status = str(model.status)
    if model.attributes:
        held = contact.attributes
        written = model.attributes.items()
        merged = {
            **held,
            **{key: value for key, value in written if overwrite or held.get(key) in (None, "")},
        }
        _set_attributes(contact, merged)
    if model.tags is not None:
        tags = frozenset(model.tags)
        _set_tags(contact, tags if overwrite else contact.tags | tags)
    had_primary = {i.channel for i in contact.identifiers.values() if i.is_primary}
    kept = (
        claimed if overwrite or claimed.channel not in had_primary else replace(claimed, is_primary=None)
        for claimed in claims
    )
    give(scratch, contact_id, tuple(kept))


def update(scratch: Scratch, command: Prepared) -> Outcome:
    model: ContactUpdate = command.model
    found = require(scratch, command.reference)
    if model.expected_version is not None and model.expected_version != found.version:
        raise Rejection(
            "version_conflict",
            "expected_version: the contact has changed since; read it again",
            {"expected": model.expected_version, "actual": found.version},
            contact_id=found.id,
        )
    contact = scratch.edit(found.id)
    given: Mapping[str, Any] = model.set.model_dump(exclude_unset=True) if model.set else {}
    external_id = given.get("external_id")
    if external_id is not None:
        _reject_external_id(scratch, external_id, contact.id)
        contact.external_id = external_id
    for name in NAMES:
        if name in given:
            setattr(contact, name, given[name])
    if "status" in given:
        contact.status = str(given["status"])
    attributes = {**contact.attributes, **given.get("attributes", {})}
    for name in model.unset or ():
        if name.startswith("attributes."):
            attributes.pop(name.removeprefix("attributes."), None)
        elif name in ("email", "phone"):
            _demote(scratch, contact, "email" if name == "email" else "sms")
        else:
            setattr(contact, name, None)
    if not same_json(attributes, contact.attributes):
        _set_attributes(contact, attributes)
    if "tags" in given:
        _set_tags(contact, frozenset(given["tags"]))
    for claimed in command.claims:
        owner = scratch.owner(claimed.key)
        if owner not in (None, contact.id):
            reject_taken(scratch, owner, claimed, contact.id)
    give(scratch, contact.id, command.claims)
    return Outcome("applied", contact.id)


def delete(scratch: Scratch, command: Prepared) -> Outcome:
    model: ContactDelete = command.model
    found = require(scratch, command.reference, deleted=True)
    if found.deleted_at is None:
        scratch.edit(found.id).deleted_at = scratch.at
        scratch.drafts[found.id].reason = model.reason
    return Outcome("applied", found.id)


def restore(scratch: Scratch, command: Prepared) -> Outcome:
    model: ContactRestore = command.model
    found = require(scratch, command.reference, deleted=True)
    if found.deleted_at is not None:
        scratch.edit(found.id).deleted_at = None
        scratch.drafts[found.id].reason = model.reason
    return Outcome("applied", found.id)


def _reject_external_id(scratch: Scratch, external_id: str, contact_id: uuid.UUID | None) -> None:
    owner = scratch.by_external_id(external_id)
    if owner not in (None, contact_id):
        raise Rejection(
            "external_id_taken",
            "external_id: another contact has it",
            {"contact_id": str(owner)},
            contact_id=contact_id,
        )


def _set_attributes(contact: Contact, attributes: dict[str, Any]) -> None:
    if len(orjson.dumps(attributes)) > ATTRIBUTES_BYTES:
        raise invalid("attributes", f"a contact's attributes take at most {ATTRIBUTES_BYTES} bytes as JSON")
    contact.attributes = attributes


def _set_tags(contact: Contact, tags: frozenset[str]) -> None:
    if len(tags) > TAGS:
        raise invalid("tags", f"a contact has at most {TAGS} tags")
    contact.tags = tags


def _demote(scratch: Scratch, contact: Contact, channel: str) -> None:
    """Leave the channel without a primary: the field is empty, the identifier stays and still finds the contact."""
    for identifier in list(contact.identifiers.values()):
        if identifier.channel == channel and identifier.is_primary:
            scratch.put_identifier(contact.id, replace(identifier, is_primary=False))
