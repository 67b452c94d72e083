"""identifier.add, identifier.remove, identifier.verify, identifier.set_primary."""

from __future__ import annotations

from typing import Any, ClassVar

from contracts.commands.base import Command
from contracts.commands.contact import Region
from contracts.fields import Flag
from contracts.reference import Channel, ContactReference, RawIdentifier, Scope


class IdentifierCommand(Command):
    """Which identifier of which contact, and what the sender knows of it: a command ignores what it has no use for."""

    contact: ContactReference
    channel: Channel
    identifier: RawIdentifier
    scope: Scope | None = None
    region: Region | None = None
    is_primary: Flag | None = None
    is_verified: Flag | None = None
    shared: Flag | None = None
    metadata: dict[str, Any] | None = None


class IdentifierAdd(IdentifierCommand):
    """Give the contact an identifier, or change the flags of one that it has."""

    TYPE: ClassVar[str] = "identifier.add"


class IdentifierRemove(IdentifierCommand):
    """Take an identifier from the contact; the oldest one left on the channel becomes its primary."""

    TYPE: ClassVar[str] = "identifier.remove"


class IdentifierVerify(IdentifierCommand):
    """Mark an identifier verified, or with ``is_verified`` false no longer so."""

    TYPE: ClassVar[str] = "identifier.verify"


class IdentifierSetPrimary(IdentifierCommand):
    """Make an identifier the primary one of its channel."""

    TYPE: ClassVar[str] = "identifier.set_primary"
