"""contact.get, contact.find, contact.list, contact.timeline."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from contracts.fields import Flag, Moment, Text100, Text255, Whole, blank_is_absent
from contracts.queries.base import Query
from contracts.reference import Channel, ContactReference, ExternalId, RawIdentifier, Scope
from contracts.vocabulary import Audience, Category, ContactStatus, Source

# The longest holds a name of 255 characters, each of which JSON may write as six, an id and a checksum, as Base64: 2,118.
Cursor = Annotated[str, Field(min_length=1, max_length=2200)]
Limit = Annotated[Whole, Field(ge=1, le=200)]


class ContactGet(Query):
    """One contact. A merged id answers with the survivor and ``meta.redirected_from``."""

    NAME: ClassVar[str] = "contact.get"

    contact: ContactReference
    include_deleted: Flag = False


class ContactFind(Query):
    """The contact that is reached by an identifier, or has an external id."""

    NAME: ClassVar[str] = "contact.find"

    channel: Channel | None = None
    identifier: RawIdentifier | None = None
    scope: Scope | None = None
    external_id: ExternalId | None = None
    include_deleted: Flag = False

    @model_validator(mode="after")
    def _names_one_way(self) -> Self:
        by_identifier = self.channel is not None or self.identifier is not None or self.scope is not None
        if by_identifier == (self.external_id is not None):
            raise ValueError("give either channel and identifier, or external_id")
        if by_identifier and (self.channel is None or self.identifier is None):
            raise ValueError("give both channel and identifier")
        return self


class ContactList(Query):
    """Contacts by page, or by ``cursor`` for deep paging."""

    NAME: ClassVar[str] = "contact.list"

    page: Annotated[Whole, Field(ge=1)] | None = None
    page_size: Annotated[Whole, Field(ge=1, le=100)] = 20
    count: Literal["exact", "capped"] = "capped"
    status: ContactStatus | None = None
    source: Text100 | None = None
    tags: Annotated[list[Text100], Field(max_length=50)] | None = None
    tags_match: Literal["any", "all"] = "any"
    created_after: Moment | None = None
    created_before: Moment | None = None
    updated_after: Moment | None = None
    last_contact_before: Moment | None = None
    has_email: Flag | None = None
    has_phone: Flag | None = None
    search: Annotated[Text255 | None, BeforeValidator(blank_is_absent)] = None
    sort_by: Literal["created_at", "updated_at", "last_contact_at", "display_name"] = "created_at"
    sort_order: Literal["asc", "desc"] = "desc"
    include_deleted: Flag = False
    cursor: Cursor | None = None


class TimelineOf(Query):
    """Which events of a contact's timeline; ``since`` is included, ``until`` is not."""

    contact: ContactReference
    category: Category | None = None
    type: Text100 | None = None
    source: Source | None = None
    since: Moment | None = None
    until: Moment | None = None
    visible_to: Audience | None = None


class ContactTimeline(TimelineOf):
    """A contact's timeline, newest first by (occurred_at, sequence); expired events are hidden."""

    NAME: ClassVar[str] = "contact.timeline"

    limit: Limit = 50
    cursor: Cursor | None = None
    total: Flag = False
