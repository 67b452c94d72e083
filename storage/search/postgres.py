"""The search in PostgreSQL: the function ``rollcall_search``, by the trigrams of ``contacts.search_text``.

The function takes the tenant from the session alone. What is said to it is the criteria as JSON, each term as patterns of
LIKE. Of more than MOST_HITS hits by relevance none is ranked: the newest come first, and their positions have no key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import text as sql

from storage.reads.session import TenantReads
from storage.search.criteria import MOST_HITS, Criteria, Hits, Position
from storage.search.text import Term, Text

_NUL = re.compile(r"(?<!\\)(\\\\)*\\u0000")  # in JSON
_SEARCH = sql("select ids, total, more, last from rollcall_search(cast(:asked as jsonb))")


async def search(reads: TenantReads, criteria: Criteria) -> Hits:
    """A page of the hits, and their number."""
    nothing = Hits([], 0, at_least=False, last=None)
    if criteria.text is not None and not criteria.text.terms:
        return nothing
    said = asked(criteria)
    if said is None:
        return nothing
    (row,) = await reads.rows(_SEARCH, asked=said)
    last = Position(_key(criteria, row.last), row.ids[-1]) if row.more else None
    at_least = row.total > MOST_HITS and not criteria.exact
    return Hits(row.ids, MOST_HITS if at_least else row.total, at_least, last)


def asked(criteria: Criteria) -> str | None:
    """The criteria as the function takes them; None where they hold what no contact can."""
    narrowed, after = criteria.filters, criteria.after
    said: dict[str, Any] = {
        "terms": _terms(criteria.text, forgiving=criteria.forgiving) if criteria.text else [],
        "status": narrowed.status,
        "source": narrowed.source,
        "tags": list(dict.fromkeys(narrowed.tags)) or None,
        "all_tags": narrowed.tags_match == "all",
        "attributes": dict(narrowed.attributes) or None,
        "created_after": narrowed.created_after,
        "created_before": narrowed.created_before,
        "updated_after": narrowed.updated_after,
        "last_contact_before": narrowed.last_contact_before,
        "has_email": narrowed.has_email,
        "has_phone": narrowed.has_phone,
        "include_deleted": narrowed.include_deleted,
        "sort_by": criteria.sort_by,
        "descending": criteria.descending,
        "first": criteria.offset,
        "size": criteria.size,
        "exact": criteria.exact,
    }
    if after is not None:
        kind = (
            "rank"
            if criteria.sort_by == "relevance"
            else "name"
            if criteria.sort_by == "display_name"
            else "time"
        )
        said |= {"after_id": str(after.id), f"after_{kind}": after.key}
    try:
        written = orjson.dumps(said).decode()
    except orjson.JSONEncodeError:  # half a character
        return None
    return None if _NUL.search(written) else written


def _terms(text: Text, *, forgiving: bool) -> list[dict[str, Any]]:
    """Alone, a piece of a short word is found in too many contacts; beside another term it is not."""
    shortest = 3 if len(text.terms) == 1 else 2
    return [_term(term, shortest if forgiving else None) for term in text.terms]


def _term(term: Term, shortest: int | None) -> dict[str, Any]:
    typed = term.forgiving
    return {
        "likes": [f"%{_escaped(s)}%" if term.is_fragment(s) else f"% {_escaped(s)}%" for s in term.spellings],
        "near": list(_near(typed, shortest)) if typed is not None and shortest is not None else [],
        "spellings": list(term.spellings),
    }


def _escaped(piece: str) -> str:
    return piece.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")


def _near(word: str, shortest: int) -> Iterator[dict[str, list[str]]]:
    """Patterns of the words that differ by one typing error, by the third that it is in; ``_`` is any character.

    To look for every single one in the index would take too long. It is asked for what is left of the word without the third;
    but not where the first and the last third are shorter than so many letters. What it finds is checked, in a text with two
    blanks between words: in the one that is indexed ``_`` is a blank as well.
    """
    first = len(word) // 3
    last = len(word) - first
    yield {"find": [f"%{word[first:]} %"], "check": _errors(word, range(first), range(first + 1))}
    yield {
        "find": [f"% {word[:last]}%"],
        "check": _errors(word, range(last, len(word)), range(last, len(word) + 1)),
    }
    middle = _errors(word, range(first, last), range(first + 1, last))
    across = [_swapped(word, first - 1), _swapped(word, last - 1)]
    if first < shortest:
        yield {"find": [*middle, *across], "check": [*middle, *across]}
    else:
        yield {"find": [f"% {word[:first]}%{word[last:]} %"], "check": middle}
        yield {"find": across, "check": []}


def _errors(word: str, letters: range, gaps: range) -> list[str]:
    """With one of the letters missing or another one, or two of them swapped, or one more in a gap, which lies before its letter."""
    found = [f"% {word[:i]}{other}{word[i + 1 :]} %" for i in letters for other in ("", "_")]
    found += [_swapped(word, i) for i in letters[:-1]]
    found += [f"% {word[:i]}_{word[i:]} %" for i in gaps]
    return list(dict.fromkeys(found))


def _swapped(word: str, i: int) -> str:
    return f"% {word[:i]}{word[i + 1]}{word[i]}{word[i + 2 :]} %"


def _key(criteria: Criteria, last: Any) -> int | datetime | str | None:
    """A sort key out of JSON."""
    is_time = last is not None and criteria.sort_by.endswith("_at")
    key: int | datetime | str | None = datetime.fromisoformat(last) if is_time else last
    return key
