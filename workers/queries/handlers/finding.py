"""Finding contacts by text: what contact.search and contact.list with ``search`` share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from storage.reads import paging
from storage.search.criteria import MOST_HITS, Criteria, Position
from storage.search.text import MOST_TERMS, Text, TooManyTerms, fold, highlight, parse
from workers.queries.handlers.answer import Refusal, bad_cursor, invalid
from workers.queries.handlers.context import Context
from workers.queries.search import Found, Version

_HIGHLIGHTED = ("first_name", "last_name", "display_name", "email", "phone", "external_id")


def text_of(field: str, typed: str | None) -> Text | None:
    """What was typed, as it is searched for. Raises Refusal."""
    try:
        return parse(typed)
    except TooManyTerms:
        raise invalid([{"field": field, "message": f"at most {MOST_TERMS} words are searched for"}]) from None


async def find(
    context: Context,
    criteria: Criteria,
    *,
    page: int | None,
    cursor: str | None,
    asked: Mapping[str, Any],
    wait_for: Version | None = None,
) -> tuple[Found, dict[str, Any]]:
    """The page, by number or by cursor, and the part of ``meta`` that says where it is. Raises Refusal."""
    paged = _after(criteria, cursor, asked) if cursor else _numbered(criteria, page or 1)
    found = await context.search.find(context.tenant, context.reads, paged, wait_for)
    last = found.hits.last
    return found, {
        "engine": found.engine,
        "page_size": criteria.size,
        "next_cursor": paging.seal(asked, [last.key, last.id, found.forgiving]) if last else None,
    }


def _numbered(criteria: Criteria, page: int) -> Criteria:
    offset = (page - 1) * criteria.size
    if offset >= MOST_HITS:
        raise Refusal(
            "page_too_deep",
            f"by page a search shows its first {MOST_HITS:,} hits; go on with the next_cursor of a page before it",
        )
    return replace(criteria, offset=offset, size=min(criteria.size, MOST_HITS - offset))


def _after(criteria: Criteria, cursor: str, asked: Mapping[str, Any]) -> Criteria:
    try:
        key, contact_id, forgiving = paging.unseal(asked, cursor)
    except paging.CursorError:
        raise bad_cursor() from None
    if key is not None and criteria.sort_by not in {"relevance", "display_name"}:
        key = datetime.fromisoformat(key)
    return replace(criteria, after=Position(key, uuid.UUID(contact_id)), forgiving=forgiving)


def highlights(contact: Mapping[str, Any], text: Text | None, *, forgiving: bool) -> dict[str, list[str]]:
    """By field of the contact, where the text was found; fields without are left out."""
    if text is None:
        return {}
    shown: dict[str, dict[str, None]] = {}
    for name, spellings in _texts(contact):
        marked = next(
            (found for one in spellings if (found := _marked(one, text, forgiving=forgiving))), None
        )
        if marked is not None:
            shown.setdefault(name, {})[marked] = None
    return {name: list(marked) for name, marked in shown.items()}


def _marked(value: str, text: Text, *, forgiving: bool) -> str | None:
    if not forgiving:  # most values hold nothing of it, and looking closely takes a hundred times as long
        folded = fold(value)
        if not any(spelling in folded for term in text.terms for spelling in term.spellings):
            return None
    return highlight(value, text, forgiving=forgiving)


def _texts(contact: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """What may be shown, by field: the ways to write each value, of which the first that holds the text is."""
    for name in _HIGHLIGHTED:
        yield name, [contact[name]] if contact[name] else []
    company = contact["attributes"].get("company")
    yield "company", [company] if isinstance(company, str) else []
    for identifier in contact["identifiers"]:
        yield "identifiers", [identifier["identifier"], identifier["raw"], *identifier["aliases"]]
        profile_name = identifier["metadata"].get("profile_name")
        yield "profile_names", [profile_name] if isinstance(profile_name, str) else []
