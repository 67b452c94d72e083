"""What the model knows: people, what happened to them, and what was told about them.

A person has no id here, only identifiers: ids are drawn at random, so a comparison goes by identity and structure.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

PHONE_CHANNELS = {"whatsapp", "sms", "voice", "phone"}
FIELDS = ("external_id", "first_name", "last_name", "avatar_url", "source")


class Key(NamedTuple):
    """What makes an identifier unique within a tenant."""

    kind: str
    canonical: str
    scope: str = ""


class Refused(Exception):
    """A command that its schema or the state refuses."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def kind_of(channel: str) -> str:
    return "phone" if channel in PHONE_CHANNELS else channel


def key_of(channel: str, identifier: str, scope: str | None = "") -> Key:
    """The canonical form, for what the traffic holds: international numbers without national oddities."""
    text = identifier.strip()
    if not text or len(text) > 255:
        raise Refused("invalid")
    kind = kind_of(channel)
    if kind == "phone":
        return Key(kind, "+" + "".join(c for c in text if c.isdigit()), scope or "")
    if kind == "email":
        return Key(kind, text.casefold(), scope or "")
    return Key(kind, text, scope or "")


def given_key_of(channel: str, identifier: str, scope: str | None = "") -> Key:
    """The same of an identifier that a command gives to a person: any text may be looked for, but not be given."""
    key = key_of(channel, identifier, scope)
    text = identifier.strip()
    if key.kind == "phone" and channel != "whatsapp" and not text.startswith("+"):
        raise Refused("invalid")  # the traffic names no region
    if key.kind == "email" and not re.fullmatch(r"[^@\s]+@[^@\s]+", text):
        raise Refused("invalid")
    return key


@dataclass
class Identifier:
    """One identifier on one channel."""

    key: Key
    channel: str
    is_primary: bool = False
    is_verified: bool = False
    profile_name: str | None = None
    named_at: datetime | None = None  # when the message with that name was written
    raws: frozenset[str] = frozenset()  # every spelling seen


@dataclass
class Happening:
    """One timeline event, with those of its fields that the contract settles."""

    message: str  # the id of the message that caused it
    type: str
    category: str | None  # None: the contract leaves it open
    facts: dict[str, Any] = field(default_factory=dict)
    marks: set[str] = field(default_factory=set)  # delivered | read | deleted | skipped

    @property
    def title(self) -> str | None:
        return self.facts.get("title")


@dataclass
class Told:
    """One contact.* event."""

    message: str
    type: str
    version: int
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Person:
    """One contact and its whole past."""

    tenant: str
    number: int  # in order of creation
    fields: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys(FIELDS))
    status: str = "active"
    attributes: dict[str, Any] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    identifiers: dict[tuple[Key, str], Identifier] = field(default_factory=dict)
    deleted: bool = False
    version: int = 0
    last_contact_at: datetime | None = None
    timeline: list[Happening] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)

    def copy(self) -> Person:
        """A draft: its state is its own, its past is shared."""
        draft = copy.copy(self)
        draft.fields = dict(self.fields)
        draft.attributes = copy.deepcopy(self.attributes)
        draft.tags = set(self.tags)
        draft.identifiers = {at: copy.copy(i) for at, i in self.identifiers.items()}
        return draft

    def primary(self, channel: str) -> str | None:
        for identifier in self.identifiers.values():
            if identifier.channel == channel and identifier.is_primary:
                return identifier.key.canonical
        return None

    def holds(self, key: Key) -> bool:
        return any(key == held for held, _ in self.identifiers)

    def add(
        self, channel: str, key: Key, raw: str, *, primary: bool | None = None, verified: bool | None = None
    ) -> Identifier:
        """A channel without a primary takes the new one as its primary; else only when asked to."""
        alone = self.primary(channel) is None and (key, channel) not in self.identifiers
        identifier = self.identifiers.setdefault((key, channel), Identifier(key, channel))
        identifier.raws |= {raw}
        if verified:
            identifier.is_verified = True
        if primary or (alone and primary is not False):
            self.make_primary(identifier)
        return identifier

    def make_primary(self, chosen: Identifier) -> None:
        for identifier in self.identifiers.values():
            if identifier.channel == chosen.channel:
                identifier.is_primary = identifier is chosen

    def display_name(self) -> str | None:
        """Names first, then the newest profile name, e-mail, phone, any identifier."""
        whole = " ".join(part for part in (self.fields["first_name"], self.fields["last_name"]) if part)
        profiles = [i.profile_name for i in self.identifiers.values() if i.profile_name]
        others = [i.key.canonical for i in self.identifiers.values()]
        candidates = [whole, *reversed(profiles), self.primary("email"), self.primary("sms"), *others]
        return next((name for name in candidates if name), None)

    def plain(self) -> dict[str, Any]:
        """The fields whose changes one contact_updated reports."""
        return {
            **self.fields,
            "display_name": self.display_name(),
            "email": self.primary("email"),
            "phone": self.primary("sms"),
        }

    def document(self) -> dict[str, Any]:
        """The fields of contact.get that the model predicts."""
        return {
            **self.plain(),
            "status": self.status,
            "attributes": copy.deepcopy(self.attributes),
            "tags": sorted(self.tags),
            "identifiers": sorted(
                [
                    i.channel,
                    i.key.scope,
                    i.key.canonical,
                    i.is_primary,
                    i.is_verified,
                    i.profile_name,
                    *sorted(i.raws),
                ]
                for i in self.identifiers.values()
            ),
            "deleted": self.deleted,
        }
