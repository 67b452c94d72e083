"""How tenant b tries to reach a contact of tenant a, by query and by command. An entry of the registry needs a case here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.tenants.conftest import Victim

Fields = dict[str, Any]

# By query: what is asked, and the code that tenant b gets; None where it is shown nothing: an empty page, no jobs.
QUERIES: dict[str, Callable[[Victim], list[tuple[Fields, str | None]]]] = {
    "contact.get": lambda v: [
        ({"contact": name, "include_deleted": deleted}, "contact_not_found")
        for name in v.names
        for deleted in (False, True)
    ],
    "contact.find": lambda v: [
        ({"external_id": v.external_id}, "contact_not_found"),
        ({"channel": v.channel, "identifier": v.identifier}, "contact_not_found"),
        ({"channel": v.channel, "identifier": v.identifier, "include_deleted": True}, "contact_not_found"),
    ],
    "contact.list": lambda v: [
        ({"tags": [v.external_id]}, None),
        ({"tags": [v.external_id], "tags_match": "all"}, None),
        ({"search": v.identifier}, None),
        ({"search": v.external_id, "include_deleted": True, "count": "exact"}, None),
    ],
    "contact.search": lambda v: [
        ({"q": v.identifier}, None),
        ({"q": v.external_id[:8], "sort_by": "created_at"}, None),
        ({"q": v.external_id, "wait_for": {"contact_id": v.id, "version": 1}}, None),
        ({"filters": {"tags": [v.external_id]}}, None),
        ({"filters": {"source": v.external_id}}, None),
        ({"filters": {"company": v.external_id}}, None),
        ({"filters": {"attributes.company": v.external_id}}, None),
    ],
    "contact.timeline": lambda v: [
        ({"contact": name, "total": True}, "contact_not_found") for name in v.names
    ],
    "timeline.get": lambda v: [({"event_id": v.event_id}, "event_not_found")],
    "timeline.undelivered": lambda v: [
        ({}, None),
        ({"visible_to": "agent"}, None),
        *(({"contact": name}, "contact_not_found") for name in v.names),
    ],
    "timeline.session": lambda v: [({"session_id": v.external_id}, None)],
    "timeline.by_type": lambda v: [({"type": v.external_id}, None)],
    "timeline.by_category": lambda _: [({"category": "pipeline"}, None)],
    "timeline.search": lambda v: [
        ({"q": v.external_id}, None),
        *(({"q": v.external_id, "contact": name}, "contact_not_found") for name in v.names),
    ],
    "timeline.count": lambda v: [({"contact": name}, "contact_not_found") for name in v.names],
    "search.status": lambda _: [({}, None)],
    "message.status": lambda v: [({"channel": "whatsapp", "message_id": v.message_id}, "message_not_found")],
}

# Queries that give cursors: how to get one that has more behind it.
CURSORS: dict[str, Callable[[Victim], Fields]] = {
    "contact.list": lambda _: {"page_size": 1, "include_deleted": True},
    "contact.search": lambda _: {"page_size": 1},
    "contact.timeline": lambda v: {"contact": {"id": v.id}, "limit": 1},
    "timeline.undelivered": lambda _: {"limit": 1},
    "timeline.session": lambda v: {"session_id": v.external_id, "limit": 1},
    "timeline.by_type": lambda v: {"type": v.external_id, "limit": 1},
    "timeline.by_category": lambda _: {"category": "pipeline", "limit": 1},
    "timeline.search": lambda v: {"q": v.external_id, "limit": 1},
}


def _by_name(**fields: Any) -> Callable[[Victim], list[Fields]]:
    return lambda v: [{"contact": name, **fields} for name in v.names]


def _by_identifier(**fields: Any) -> Callable[[Victim], list[Fields]]:
    return lambda v: [
        {"contact": name, "channel": v.channel, "identifier": v.identifier, **fields} for name in v.names
    ]


def _by_event(**fields: Any) -> Callable[[Victim], list[Fields]]:
    return lambda v: [
        {"event_ids": [v.event_id], **fields},
        *({"event_ids": [v.event_id], "contact": name, **fields} for name in v.names),
    ]


# By command: its data. Tenant b may make a contact of its own by the same names, but never touch this one.
COMMANDS: dict[str, Callable[[Victim], list[Fields]]] = {
    "contact.create": lambda v: [
        {"external_id": v.external_id, "email": v.identifier, "tags": [v.external_id]},
        {"identifiers": [{"channel": "push", "identifier": v.external_id}]},
    ],
    "contact.upsert": lambda v: [
        {"first_name": "Mallory", "mode": "overwrite", "external_id": v.external_id},
        {"first_name": "Mallory", "mode": "overwrite", "email": v.identifier},
        *({"first_name": "Mallory", "mode": "overwrite", "contact": name} for name in v.names),
    ],
    "contact.update": _by_name(set={"first_name": "Mallory", "attributes": {"seen": True}, "tags": ["x"]}),
    "contact.delete": _by_name(reason="crosswise"),
    "contact.restore": _by_name(reason="crosswise"),
    "identifier.add": _by_name(channel="push", identifier="mallory"),
    "identifier.remove": _by_identifier(),
    "identifier.verify": _by_identifier(),
    "identifier.set_primary": _by_identifier(),
    "timeline.record": _by_name(type="note_added", category="note", title="crosswise"),
    "timeline.record_many": lambda v: [
        *({"events": [{"contact": name, "type": "note_added"}]} for name in v.names),
        *({"contact": name, "events": [{"type": "note_added"}]} for name in v.names),
    ],
    "timeline.mark_delivered": _by_event(),
    "timeline.mark_read": _by_event(reader="agent"),
    "timeline.delete": _by_event(reason="crosswise"),
    "search.rebuild": lambda _: [{}],
}
