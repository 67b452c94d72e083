"""identifier.add, remove, verify, set_primary. Pure."""

from __future__ import annotations

import uuid
from dataclasses import replace

from contracts.commands.identifier import IdentifierVerify
from storage.rows import Contact, Identifier
from workers.engine.record import Outcome
from workers.fold.directory import Rejection, Scratch
from workers.fold.handlers.claim import Claim
from workers.fold.handlers.command import Prepared, give, make_primary, reject_taken, require


def add(scratch: Scratch, command: Prepared) -> Outcome:
    contact = require(scratch, command.reference)
    (claimed,) = command.claims
    owner = scratch.owner(claimed.key)
    if owner is not None and owner != contact.id:
        reject_taken(scratch, owner, claimed, contact.id)
    give(scratch, contact.id, command.claims)
    return Outcome("applied", contact.id)


def remove(scratch: Scratch, command: Prepared) -> Outcome:
    contact = require(scratch, command.reference)
    (claimed,) = command.claims
    held = _held(contact, claimed)
    scratch.drop_identifier(contact.id, held.key, held.channel)
    if held.is_primary:
        _promote(scratch, contact.id, held.channel)
    return Outcome("applied", contact.id)


def verify(scratch: Scratch, command: Prepared) -> Outcome:
    model: IdentifierVerify = command.model
    contact = require(scratch, command.reference)
    held = _held(contact, command.claims[0])
    verified = model.is_verified is not False
    if held.is_verified != verified:
        scratch.put_identifier(contact.id, replace(held, is_verified=verified))
    return Outcome("applied", contact.id)


def set_primary(scratch: Scratch, command: Prepared) -> Outcome:
    contact = require(scratch, command.reference)
    held = _held(contact, command.claims[0])
    make_primary(scratch, contact.id, held.key, held.channel)
    return Outcome("applied", contact.id)


def _held(contact: Contact, claimed: Claim) -> Identifier:
    held = contact.identifiers.get((claimed.key, claimed.channel))
    if held is None:
        if claimed.fault is not None:
            raise claimed.fault
        raise Rejection(
            "identifier_not_found",
            f"{claimed.channel} {claimed.key.identifier}: the contact has no such identifier",
            {"contact_id": str(contact.id), "channel": claimed.channel, "identifier": claimed.key.identifier},
            contact_id=contact.id,
        )
    return held


def _promote(scratch: Scratch, contact_id: uuid.UUID, channel: str) -> None:
    """The oldest identifier that is left on the channel becomes its primary."""
    left = [i for i in scratch.contact(contact_id).identifiers.values() if i.channel == channel]
    if left:
        oldest = min(left, key=lambda i: i.id)
        make_primary(scratch, contact_id, oldest.key, channel)
