"""Contacts and timeline events as events and queries show them: the models of contracts/documents.py, as plain dicts. Pure."""

from __future__ import annotations

from typing import Any

from storage.rows import Contact, Identifier, TimelineEvent


def identifier_document(identifier: Identifier) -> dict[str, Any]:
    return {
        "id": str(identifier.id),
        "channel": identifier.channel,
        "scope": identifier.key.scope,
        "identifier": identifier.key.identifier,
        "raw": identifier.raw,
        "aliases": list(identifier.aliases),
        "is_primary": identifier.is_primary,
        "is_verified": identifier.is_verified,
        "shared": identifier.shared,
        "metadata": identifier.metadata,
    }


def identifier_documents(contact: Contact) -> list[dict[str, Any]]:
    """Identifiers in the order in which they came."""
    return [identifier_document(i) for i in sorted(contact.identifiers.values(), key=lambda i: i.id)]


def document(contact: Contact) -> dict[str, Any]:
    """The contact as events and queries show it: ContactDocument in contracts/documents.py."""
    return {
        "id": str(contact.id),
        "external_id": contact.external_id,
        "first_name": contact.first_name,
        "last_name": contact.last_name,
        "display_name": contact.display_name,
        "email": contact.email,
        "phone": contact.phone,
        "avatar_url": contact.avatar_url,
        "status": contact.status,
        "source": contact.source,
        "attributes": contact.attributes,
        "tags": sorted(contact.tags),
        "identifiers": identifier_documents(contact),
        "last_contact_at": contact.last_contact_at,
        "created_at": contact.created_at,
        "updated_at": contact.updated_at,
        "deleted_at": contact.deleted_at,
        "version": contact.version,
    }


def timeline_document(event: TimelineEvent) -> dict[str, Any]:
    """The timeline event as events and queries show it: TimelineDocument in contracts/documents.py."""
    return {
        "id": str(event.id),
        "contact_id": str(event.contact_id),
        "sequence": event.sequence,
        "contact_version": event.contact_version,
        "session_id": event.session_id,
        "thread_id": event.thread_id,
        "type": event.type,
        "category": event.category,
        "priority": event.priority,
        "title": event.title,
        "description": event.description,
        "payload": event.payload,
        "metadata": event.metadata,
        "source": event.source,
        "triggered_by": event.triggered_by,
        "integration_source": event.integration_source,
        "realtime": event.realtime,
        "delivered_at": None,
        "read_at": None,
        "visible_to_client": event.visible_to_client,
        "visible_to_agent": event.visible_to_agent,
        "expires_at": event.expires_at,
        "occurred_at": event.occurred_at,
        "created_at": event.created_at,
    }
