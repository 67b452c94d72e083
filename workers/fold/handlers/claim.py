"""An identifier that a message gives to a contact, and how much of identifiers a contact may hold. Pure.

The limits keep a contact's document, and so every event of it, far below what the bus takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contracts.commands.contact import IDENTIFIERS
from storage.rows import Contact, Identifier, IdentifierKey
from workers.fold.directory import Rejection

ALIASES = 10  # spellings kept of an identifier, beside the first: the latest ones
METADATA_BYTES = 4_000  # of an identifier's metadata as JSON


@dataclass(frozen=True, slots=True)
class Claim:
    """An identifier as it was written, and what it is; the flags are None where the message says nothing of them."""

    channel: str
    raw: str
    key: IdentifierKey
    is_primary: bool | None = None
    is_verified: bool | None = None
    shared: bool | None = None
    metadata: dict[str, Any] | None = None
    fault: Rejection | None = None  # of what is no identifier, and may have been kept as a provider gave it


def spelled(held: Identifier, raw: str) -> tuple[str, ...]:
    """The identifier's further spellings once it was written so."""
    if raw == held.raw or raw in held.aliases:
        return held.aliases
    return (*held.aliases, raw)[-ALIASES:]


def is_full(contact: Contact) -> bool:
    """Whether the contact can take no further identifier."""
    return len(contact.identifiers) >= IDENTIFIERS
