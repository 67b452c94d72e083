"""Who a client is: the claims of the JWT that it shows, and the ticket that a JWT is got for."""

from __future__ import annotations

import uuid
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contracts.fields import NO_NUL_PATTERN, TENANT_PATTERN
from contracts.realtime.contacts import all_or
from contracts.vocabulary import Role

AUDIENCE = "rollcall-realtime"
ISSUER = "rollcall"
LATEST: Final = 253_402_300_799  # the last second of the year 9999, after which there are no dates

SomeContacts = Annotated[list[uuid.UUID], Field(max_length=10_000)]
Seconds = Annotated[float, Field(ge=0, le=LATEST)]  # since 1970: a NumericDate of RFC 7519
Tenant = Annotated[str, Field(pattern=TENANT_PATTERN)]


class Claims(BaseModel):
    """An agent sees its tenant's contacts (``"*"``) or those named; a contact's client sees its own contact alone.

    ``sub`` names the person. ``exp`` and ``iat`` are seconds since 1970, which may have a fraction. Claims that are not listed are ignored.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    iss: str
    aud: str | list[str]
    sub: Annotated[str, Field(min_length=1, max_length=200, pattern=NO_NUL_PATTERN)]
    iat: Seconds
    exp: Seconds
    tenant: Tenant
    role: Role
    contacts: Annotated[Literal["*"] | SomeContacts, all_or(SomeContacts)] | None = None
    contact_id: uuid.UUID | None = None

    @model_validator(mode="after")
    def _says_whose(self) -> Self:
        if self.role is Role.AGENT and self.contacts is None:
            raise ValueError('an agent\'s token needs contacts: "*", or a list of ids')
        if self.role is Role.CONTACT and self.contact_id is None:
            raise ValueError("a contact's token needs contact_id")
        return self


class Exchange(BaseModel):
    """The body of ``POST /ws/token``: a one-time ticket, for a token of the same claims."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    ticket: Annotated[str, Field(min_length=1, max_length=200)]
