"""What a token allows. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from contracts.realtime.token import Claims
from contracts.vocabulary import Audience, Role


@dataclass(frozen=True, slots=True)
class Rights:
    """Whose timelines a session may see. ``contacts`` is None where that is every contact of the tenant."""

    tenant: str
    role: Role
    contacts: frozenset[uuid.UUID] | None
    actor: str
    expires_at: datetime

    @classmethod
    def of(cls, claims: Claims) -> Rights:
        contacts: frozenset[uuid.UUID] | None = None
        if claims.role is Role.CONTACT:
            assert claims.contact_id is not None
            contacts = frozenset({claims.contact_id})
        elif isinstance(claims.contacts, list):
            contacts = frozenset(claims.contacts)
        expires_at = datetime.fromtimestamp(claims.exp, UTC)
        return cls(claims.tenant, claims.role, contacts, claims.sub, expires_at)

    @property
    def audience(self) -> Audience:
        return self.role.audience

    @property
    def own_contact(self) -> uuid.UUID | None:
        """The contact whose client this is."""
        if self.role is not Role.CONTACT:
            return None
        assert self.contacts is not None
        (own,) = self.contacts
        return own

    def watched(self, asked: Literal["*"] | Iterable[uuid.UUID]) -> frozenset[uuid.UUID] | None:
        """What to watch of what was asked for: all that is allowed, for ``"*"``. Raises PermissionError."""
        if asked == "*":
            return self.contacts
        wanted = frozenset(asked)
        if self.contacts is not None and not wanted <= self.contacts:
            raise PermissionError("contacts: the token does not allow all of them")
        return wanted
