"""Every query by name, with what answers it; a module a noun. Pure of transport: subjects and bytes are the worker's."""

from __future__ import annotations

from collections.abc import Mapping

from workers.queries.handlers import contact, message, search, timeline
from workers.queries.handlers.answer import Handler

HANDLERS: Mapping[str, Handler] = {
    "contact.get": contact.get,
    "contact.find": contact.find,
    "contact.list": contact.list_contacts,
    "contact.search": search.contacts,
    "contact.timeline": timeline.of_contact,
    "timeline.get": timeline.get,
    "timeline.undelivered": timeline.undelivered,
    "timeline.session": timeline.session,
    "timeline.by_type": timeline.by_type,
    "timeline.by_category": timeline.by_category,
    "timeline.search": timeline.search,
    "timeline.count": timeline.count,
    "message.status": message.status,
    "search.status": search.status,
}
