"""How a message names a contact."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from contracts.vocabulary import CHANNEL_PATTERN


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank; leave the field out if it is optional")
    return value


Channel = Annotated[
    str, Field(pattern=CHANNEL_PATTERN, description="Lower-case token: whatsapp, sms, email, push, …")
]
# Identifiers and external ids are kept exactly as given: keys are hashed over them, and canonical forms are the
# worker's business.
RawIdentifier = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_not_blank)]
ExternalId = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_not_blank)]
Scope = Annotated[str, Field(max_length=255)]


class ContactReference(BaseModel):
    """Exactly one of ``id``, ``external_id``, or ``channel`` with ``identifier`` (and ``scope``, where there is one)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: uuid.UUID | None = None
    external_id: ExternalId | None = None
    channel: Channel | None = None
    identifier: RawIdentifier | None = None
    scope: Scope | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_an_object(cls, given: Any) -> Any:
        if isinstance(given, (Mapping, ContactReference)):
            return given
        raise ValueError('give {"id": …}, {"external_id": …} or {"channel": …, "identifier": …}')

    @model_validator(mode="after")
    def _names_one_way(self) -> Self:
        by_identifier = self.channel is not None or self.identifier is not None or self.scope is not None
        if (self.id is not None) + (self.external_id is not None) + by_identifier != 1:
            raise ValueError("name the contact by exactly one of id, external_id, or channel and identifier")
        if by_identifier and (self.channel is None or self.identifier is None):
            raise ValueError("give both channel and identifier")
        return self
