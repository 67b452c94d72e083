"""What the handlers of commands share: the named contact, and the identifiers that a command claims. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from contracts.commands.contact import IDENTIFIERS
from contracts.reference import ContactReference
from storage.ids import uuid7
from storage.rows import Contact, Identifier, IdentifierKey
from workers.fold import identity
from workers.fold.directory import Rejection, Scratch
from workers.fold.equality import same_identifier
from workers.fold.handlers.claim import METADATA_BYTES, Claim, is_full, spelled
from workers.fold.identity import IdentifierError

PROFILE = ("profile_name", "profile_name_at")  # metadata that only webhooks write
REFERRED = "contact.identifier"  # the field of a reference's identifier


@dataclass(frozen=True, slots=True)
class Reference:
    """A contact as a command names it, its identifier canonical. ``any_scope``: the command gives none."""

    id: uuid.UUID | None = None
    external_id: str | None = None
    claim: Claim | None = None
    any_scope: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A command's model with the canonical forms of what it names.

    ``parts`` are what a command of many consists of, each prepared or rejected alone. ``place`` says for a part where in the
    command its contact stands: "events.3.", or "" for the command's own.
    """

    model: Any
    reference: Reference | None = None
    claims: tuple[Claim, ...] = field(default=())
    parts: tuple[Prepared | Rejection, ...] = ()
    place: str = ""


def rejection(errors: Sequence[Mapping[str, str]]) -> Rejection:
    """A rejection by its fields, each {"field", "message"}."""
    text = "; ".join(f"{error['field']}: {error['message']}" for error in errors)
    return Rejection("invalid", text, {"errors": errors})


def invalid(name: str, message: str) -> Rejection:
    """A rejection that names one field and the fix."""
    return rejection([{"field": name, "message": message}])


def placed(rejected: Rejection, place: str) -> Rejection:
    """The rejection of a part that begins with the name of its field, which is now the name within the command."""
    details = rejected.details
    if details is not None and "errors" in details:
        details = {"errors": [{**error, "field": place + error["field"]} for error in details["errors"]]}
    return Rejection(rejected.code, place + rejected.message, details, rejected.contact_id)


def claim(
    name: str,
    channel: str,
    identifier: str,
    scope: str | None,
    region: str | None,
    *,
    known: bool = False,
    **flags: Any,
) -> Claim:
    """A claim on an identifier as a command spells it. Raises Rejection naming the field.

    ``known``: the command speaks of an identifier that is there already, so what a webhook kept raw is found; ``fault`` says
    then why there may be none.
    """
    given = (channel, identifier, scope or "", region)
    try:
        return Claim(channel, identifier, identity.canonicalise(*given), **flags)
    except IdentifierError as error:
        fault = invalid("region" if error.field == "region" else name, error.message)
    if not known:
        raise fault
    try:
        return Claim(channel, identifier, identity.canonicalise_inbound(*given), fault=fault, **flags)
    except IdentifierError:
        raise fault from None


def refer(reference: ContactReference, region: str | None) -> Reference:
    """Raises Rejection naming the field."""
    if reference.id is not None:
        return Reference(id=reference.id)
    if reference.external_id is not None:
        return Reference(external_id=reference.external_id)
    assert reference.channel is not None
    assert reference.identifier is not None
    given = (reference.channel, reference.identifier, reference.scope)
    named = claim(REFERRED, *given, region, known=True)
    return Reference(claim=named, any_scope=reference.scope is None)


def given_by(reference: Reference) -> Claim | None:
    """The identifier of a reference that finds nobody, for a contact to have. Raises Rejection naming the field.

    What need not be well-formed to find a contact must be so to be given to one.
    """
    if reference.claim is not None and reference.claim.fault is not None:
        raise reference.claim.fault
    return reference.claim


def find(scratch: Scratch, reference: Reference) -> Contact | None:
    """The contact so named, as this message sees it. Raises Rejection ``ambiguous_reference``."""
    if reference.id is not None:
        named = scratch.directory.named(scratch.tenant, reference.id)
        return scratch.contact(named.id) if named else None
    if reference.external_id is not None:
        owner = scratch.by_external_id(reference.external_id)
        return scratch.contact(owner) if owner else None
    assert reference.claim is not None
    key = reference.claim.key
    if not reference.any_scope:
        owner = scratch.owner(key)
        return scratch.contact(owner) if owner else None
    owners = set(scratch.owners(key.kind, key.identifier).values())
    if len(owners) > 1:
        raise Rejection(
            "ambiguous_reference",
            "contact.scope: several contacts have this identifier, each in a scope of its own; give the scope",
            {"contact_ids": sorted(str(owner) for owner in owners)},
        )
    return scratch.contact(owners.pop()) if owners else None


def require(scratch: Scratch, reference: Reference | None, *, deleted: bool = False) -> Contact:
    """The contact so named.

    Raises Rejection ``contact_not_found``, ``invalid`` where the identifier is none, or ``contact_deleted`` unless deleted
    ones will do.
    """
    assert reference is not None
    contact = find(scratch, reference)
    if contact is None:
        given_by(reference)  # what is no identifier is refused as that
        raise Rejection("contact_not_found", "contact: no contact of this tenant is so named")
    if contact.deleted_at is not None and not deleted:
        reject_deleted(contact)
    return contact


def reject_deleted(contact: Contact) -> None:
    raise Rejection(
        "contact_deleted",
        "contact: it is deleted; restore it first",
        {"contact_id": str(contact.id)},
        contact_id=contact.id,
    )


def reject_taken(
    scratch: Scratch, owner: uuid.UUID, taken: Claim, contact_id: uuid.UUID | None = None
) -> None:
    raise Rejection(
        "identifier_taken",
        f"{taken.channel} {taken.key.identifier}: another contact has this identifier",
        {
            "contact_id": str(owner),
            "channel": taken.channel,
            "identifier": taken.key.identifier,
            "deleted": scratch.contact(owner).deleted_at is not None,
        },
        contact_id=contact_id,
    )


def give(scratch: Scratch, contact_id: uuid.UUID, claims: Iterable[Claim]) -> None:
    """Give the contact identifiers that nobody else owns; what it has already takes the flags that the command states."""
    for given in claims:
        contact = scratch.contact(contact_id)
        held = contact.identifiers.get((given.key, given.channel))
        if held is None:
            if is_full(contact):
                raise invalid(
                    "identifiers", f"the contact has {IDENTIFIERS} identifiers already; remove one first"
                )
            held = Identifier(uuid7(), given.key, given.channel, given.raw, created_at=scratch.at)
            first = not any(i.channel == given.channel and i.is_primary for i in contact.identifiers.values())
            wanted = replace(held, is_primary=first and given.is_primary is not False)
        else:
            wanted = replace(held, aliases=spelled(held, given.raw))
        wanted = replace(
            wanted,
            is_primary=wanted.is_primary
            if given.is_primary is None
            else given.is_primary or wanted.is_primary,
            is_verified=wanted.is_verified if given.is_verified is None else given.is_verified,
            shared=wanted.shared if given.shared is None else given.shared,
            metadata=wanted.metadata
            if given.metadata is None
            else _metadata(given.metadata, wanted.metadata),
        )
        there = contact.identifiers.get((given.key, given.channel))
        if there is None or not same_identifier(wanted, there):
            scratch.put_identifier(contact_id, wanted)
        if given.is_primary:
            make_primary(scratch, contact_id, given.key, given.channel)


def _metadata(given: dict[str, Any], held: dict[str, Any]) -> dict[str, Any]:
    """The metadata that a command gives, beside what providers told: that is theirs to change."""
    if len(orjson.dumps(given)) > METADATA_BYTES:
        raise invalid("metadata", f"an identifier's metadata takes at most {METADATA_BYTES} bytes as JSON")
    kept = {name: value for name, value in held.items() if name in PROFILE}
    return {**{name: value for name, value in given.items() if name not in PROFILE}, **kept}


def make_primary(scratch: Scratch, contact_id: uuid.UUID, key: IdentifierKey, channel: str) -> None:
    """Make one of the contact's identifiers the primary of its channel; the one that was stays, secondary."""
    contact = scratch.contact(contact_id)
    for at, identifier in list(contact.identifiers.items()):
        primary = at == (key, channel)
        if identifier.channel == channel and identifier.is_primary != primary:
            scratch.put_identifier(contact_id, replace(identifier, is_primary=primary))
