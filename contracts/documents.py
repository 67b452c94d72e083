"""What events and queries show: a contact, an identifier, a timeline event. Readers ignore fields that they do not know."""

from __future__ import annotations

import uuid
from typing import Any

from pydantic import BaseModel, ConfigDict

from contracts.fields import Moment
from contracts.vocabulary import Category, ContactStatus, Priority, Source


class Document(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class IdentifierDocument(Document):
    """``identifier`` is canonical, ``raw`` as it first came, ``aliases`` its other spellings; scope "" is none."""

    id: uuid.UUID
    channel: str
    scope: str
    identifier: str
    raw: str
    aliases: list[str]
    is_primary: bool
    is_verified: bool
    shared: bool
    metadata: dict[str, Any]


class ContactDocument(Document):
    id: uuid.UUID
    external_id: str | None
    first_name: str | None
    last_name: str | None
    display_name: str | None
    email: str | None
    phone: str | None
    avatar_url: str | None
    status: ContactStatus
    source: str | None
    attributes: dict[str, Any]
    tags: list[str]
    identifiers: list[IdentifierDocument]
    last_contact_at: Moment | None
    created_at: Moment
    updated_at: Moment
    deleted_at: Moment | None
    version: int


class SearchHit(ContactDocument):
    """A contact that was found. ``highlights`` shows by field, as HTML, where: "<em>Ann</em> Weber".

    Fields: first_name, last_name, display_name, email, phone, external_id, company, identifiers.
    """

    highlights: dict[str, list[str]]


class TimelineDocument(Document):
    """A timeline event. ``sequence`` counts a contact's events without gaps, in commit order.

    A contact's client never gets metadata, triggered_by and integration_source.
    """

    id: uuid.UUID
    contact_id: uuid.UUID
    sequence: int
    contact_version: int
    session_id: str | None
    thread_id: str | None
    type: str
    category: Category
    priority: Priority
    title: str
    description: str | None
    payload: dict[str, Any] | None
    metadata: dict[str, Any] | None = None
    source: Source
    triggered_by: str | None = None
    integration_source: str | None = None
    realtime: bool
    delivered_at: Moment | None
    read_at: Moment | None
    visible_to_client: bool
    visible_to_agent: bool
    expires_at: Moment | None
    occurred_at: Moment
    created_at: Moment
