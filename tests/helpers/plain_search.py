"""A plain search, over contacts in memory: what the one in PostgreSQL is held against. Slow, and easy to believe."""

from __future__ import annotations

import uuid
from typing import Any

from storage.rows import Contact
from storage.search.criteria import Criteria, Filters
from storage.search.text import Term, Text, search_text, values, within_one_error


def best(text: str, term: Term) -> int | None:
    """The rank of a term in a search text, None where it is not there."""
    found = [
        rank
        for spelling in term.spellings
        for rank, is_there in (
            (4, spelling in values(text)),
            (3, spelling in text.split()),
            (2, any(word.startswith(spelling) for word in text.split())),
            (1, term.is_fragment(spelling) and spelling in text),
        )
        if is_there
    ]
    return max(found, default=None)


def rank_of(contact: Contact, text: Text, *, forgiving: bool) -> int | None:
    written = search_text(contact)
    ranks = []
    for term in text.terms:
        rank = best(written, term)
        if rank is None and forgiving and term.forgiving:
            rank = 0 if any(within_one_error(word, term.forgiving) for word in written.split()) else None
        ranks.append(rank)
    return None if None in ranks or not ranks else sum(rank for rank in ranks if rank)


def passes(contact: Contact, f: Filters) -> bool:
    wanted = [set(f.tags) <= contact.tags if f.tags_match == "all" else bool(set(f.tags) & contact.tags)]
    last = contact.last_contact_at
    return (
        contact.merged_into is None
        and (f.include_deleted or contact.deleted_at is None)
        and f.status in (None, contact.status)
        and f.source in (None, contact.source)
        and (not f.tags or all(wanted))
        and all(same(contact.attributes.get(key), value) for key, value in f.attributes)
        and (f.created_after is None or contact.created_at > f.created_after)
        and (f.created_before is None or contact.created_at < f.created_before)
        and (f.updated_after is None or contact.updated_at > f.updated_after)
        and (f.last_contact_before is None or (last is not None and last < f.last_contact_before))
        and f.has_email in (None, contact.email is not None)
        and f.has_phone in (None, contact.phone is not None)
    )


def same(kept: Any, value: Any) -> bool:
    return kept == value and isinstance(kept, bool) == isinstance(value, bool)


def reference(contacts: list[Contact], criteria: Criteria) -> list[tuple[Any, uuid.UUID]]:
    """All hits in order, with their sort keys."""
    ranks = {
        c.id: rank_of(c, criteria.text, forgiving=criteria.forgiving) if criteria.text else 0
        for c in contacts
    }
    hits = [c for c in contacts if passes(c, criteria.filters) and ranks[c.id] is not None]
    keys = {
        c.id: ranks[c.id] if criteria.sort_by == "relevance" else getattr(c, criteria.sort_by) for c in hits
    }
    down = criteria.descending
    valued = sorted(((keys[c.id], c.id) for c in hits if keys[c.id] is not None), reverse=down)
    return valued + sorted(
        ((None, c.id) for c in hits if keys[c.id] is None), key=lambda hit: hit[1], reverse=down
    )
