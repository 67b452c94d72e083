r"""What the text of a search means; both engines search the same folded text with the same terms. Pure.

Text is folded to lower-case ASCII: "Müller", "MULLER" and "muller" are one word, "Иван" is found by "ivan". The folded values
of a contact are kept in ``contacts.search_text``, written with the contact and indexed by both engines:

    "\n maria schmidt \n +4915112345678 \n m.schmidt@acme.com \n"

The first MOST_VALUE characters of a value are kept, and of the values as many as MOST_TEXT has room for: the names and the
company, which leave room for thousands of characters, the external id, the identifiers, their other spellings, profile names.

A value stands between line feeds, a word between blanks, so that a whole value, a whole word, the beginning of a word and a
fragment are all found by looking for a piece of text.
"""

from __future__ import annotations

import functools
import html
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from anyascii import anyascii

from storage.rows import Contact

MOST_TERMS = 10
MOST_VALUE = 1_000  # characters of a value
MOST_TEXT = 16_000  # characters of search_text
FRAGMENT = 3  # characters; a shorter term matches the beginnings of words only
FORGIVING = range(4, 25)  # letters of a term that takes a typing error

EDGES = ",;:.\"'()[]{}<>!?*%…"  # around a term they mean nothing
_ZERO_IN_BRACKETS = re.compile(r"\(0\)")
_NUMBER = re.compile(r"\(*+\+?[\d\s()./-]+")
_APART = re.compile(r"[^0-9a-z]+")


def fold(text: str) -> str:
    """Lower-case ASCII, white space as single blanks; what cannot be written so is left out."""
    if not text.isascii():
        text = "".join(map(_letter, unicodedata.normalize("NFC", text)))
    return " ".join(text.lower().replace("\0", "").split())


@functools.lru_cache(maxsize=4096)
def _letter(character: str) -> str:
    return "" if unicodedata.combining(character) else anyascii(character)


def search_text(contact: Contact) -> str:
    """What is found of a contact: names, company, external id, identifiers as kept and as spelled, profile names."""
    return _written(_distinct(_values(contact)))


def values(written: str) -> list[str]:
    """The values in a search text."""
    return [value.strip() for value in written.split("\n") if value.strip()]


def words(written: str) -> list[str]:
    """The distinct words in a search text, sorted."""
    return sorted(set(written.split()))


def _values(contact: Contact) -> Iterator[str]:
    company = contact.attributes.get("company")
    full = " ".join(name for name in (contact.first_name, contact.last_name) if name)
    identifiers = contact.identifiers.values()
    for name in (contact.display_name, full, company):
        yield from _name(name)
    if contact.external_id:
        yield fold(contact.external_id)
    yield from (fold(identifier.key.identifier) for identifier in identifiers)
    for identifier in identifiers:
        for spelling in (identifier.raw, *identifier.aliases):
            if identifier.key.kind != "phone" and spelling != identifier.key.identifier:
                yield fold(spelling)
    for identifier in identifiers:
        yield from _name(identifier.metadata.get("profile_name"))


def _name(name: object) -> Iterator[str]:
    if isinstance(name, str) and name:
        folded = fold(name[:MOST_VALUE])
        yield folded
        if not folded.replace(" ", "").isalnum():
            yield " ".join(_APART.split(folded)).strip()  # "anna-lena" is also found by "lena"


def _distinct(found: Iterable[str]) -> Iterator[str]:
    yield from dict.fromkeys(cut for value in found if (cut := value[:MOST_VALUE].rstrip()))


def _written(found: Iterable[str]) -> str:
    text = "\n"
    for value in found:
        if len(text) + len(value) <= MOST_TEXT:
            text += f" {value} \n"
    return text if len(text) > 1 else ""


@dataclass(frozen=True, slots=True)
class Term:
    """One word of a search: found where any of its ``spellings`` is."""

    spellings: tuple[str, ...]

    def is_fragment(self, spelling: str) -> bool:
        """Whether the spelling is found anywhere; else only at the beginning of a word.

        A trigram index can narrow a fragment only by three characters in a row, a word's end counting as one and its
        beginning as two, and only letters and digits count.
        """
        if len(spelling) < FRAGMENT:
            return False
        for run in re.finditer(r"[0-9a-z]+", spelling):
            known = len(run[0]) + (2 if run.start() else 0) + (1 if run.end() < len(spelling) else 0)
            if known >= FRAGMENT:
                return True
        return False

    @property
    def forgiving(self) -> str | None:
        """The word that may differ from the term by one typing error, if any may."""
        first = self.spellings[0]
        return first if len(first) in FORGIVING and first.isalpha() else None


@dataclass(frozen=True, slots=True)
class Text:
    """Every term must be found. Text without any term finds nothing."""

    terms: tuple[Term, ...]


class TooManyTerms(Exception):
    """More words than a search takes."""


def parse(query: str | None) -> Text | None:
    """The terms of a search; None when nothing was typed. Raises TooManyTerms."""
    if query is None or not query.strip():
        return None
    folded = fold(query)
    number = _number(folded)
    if number is not None:
        return Text((number,))
    stripped = (piece.strip(EDGES) for piece in folded.split())
    terms = tuple(_word(piece) for piece in dict.fromkeys(stripped) if re.search(r"[0-9a-z]", piece))
    if len(terms) > MOST_TERMS:
        raise TooManyTerms
    return Text(terms)


def _word(piece: str) -> Term:
    """A hyphen before it excludes nothing: it is there, as in "crm-10", or it means nothing."""
    bare = piece.lstrip(f"-{EDGES}")
    return Term(tuple(dict.fromkeys((bare, piece))))


def _number(folded: str) -> Term | None:
    """A telephone number however it is written: "0151 123-45" is a piece of +4915112345."""
    written = _ZERO_IN_BRACKETS.sub("", folded).lstrip("(")
    digits = re.sub(r"\D", "", written)
    if len(digits) < 5 or not _NUMBER.fullmatch(written):
        return None
    spellings = [f"+{digits}" if written.startswith("+") else digits]
    if written.startswith("00"):
        spellings.append(f"+{digits[2:]}")
    elif written.startswith("0"):
        spellings.append(digits[1:])
    return Term(tuple(spellings))


def within_one_error(word: str, typed: str) -> bool:
    """Whether one insertion, deletion, substitution or swap of neighbours, or none, turns one into the other."""
    if word == typed:
        return True
    short, long = sorted((word, typed), key=len)
    at = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(short) == len(long):
        swapped = short[:at] + short[at : at + 2][::-1] + short[at + 2 :]
        return short[at + 1 :] == long[at + 1 :] or swapped == long
    return len(long) - len(short) == 1 and short[at:] == long[at + 1 :]


def highlight(value: str, text: Text, *, forgiving: bool) -> str | None:
    """The value as HTML with what was found in <em>; None where nothing was. ``forgiving``: typing errors count."""
    folded, origins = _folded_with_origins(value)
    marked = sorted(set(_spans(folded, text, forgiving=forgiving)))
    if not marked:
        return None
    ends: list[list[int]] = []
    for start, end in marked:
        first, last = origins[start], origins[end - 1] + 1
        if ends and first <= ends[-1][1]:
            ends[-1][1] = max(last, ends[-1][1])
        else:
            ends.append([first, last])
    pieces, done = [], 0
    for first, last in ends:
        pieces.append(f"{html.escape(value[done:first])}<em>{html.escape(value[first:last])}</em>")
        done = last
    return "".join(pieces) + html.escape(value[done:])


def _folded_with_origins(value: str) -> tuple[str, list[int]]:
    """The folded value, and for each of its characters the place of the one that it came from."""
    letters: list[str] = []
    origins: list[int] = []
    for place, character in enumerate(value):
        folded = " " if character.isspace() else fold(character)
        letters.append(folded)
        origins += [place] * len(folded)
    return "".join(letters), origins


def _spans(folded: str, text: Text, *, forgiving: bool) -> Iterator[tuple[int, int]]:
    for term in text.terms:
        for spelling in term.spellings:
            pattern = re.escape(spelling)
            if not term.is_fragment(spelling):
                pattern = rf"(?<![^\s]){pattern}"
            yield from (found.span() for found in re.finditer(pattern, folded))
        if forgiving and term.forgiving:
            for found in re.finditer(r"[^\s]+", folded):
                if within_one_error(found[0], term.forgiving):
                    yield found.span()
