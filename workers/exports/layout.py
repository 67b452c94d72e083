"""The pages of a PDF: Typst lays them out in parts, PDFium joins the parts.

Typst keeps a whole document in memory, some 300 kB a page, so a long timeline is laid out a part at a time. A part ends
where a page ends, and what comes after is left for the next one: the reader sees no seam.
"""

from __future__ import annotations

import functools
import io
import unicodedata
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import orjson
import pypdfium2
import typst

PART_EVENTS: Final = 250
PART_CHARACTERS: Final = 100_000
WHOLE_CHARACTERS: Final = 600  # of a description, up to which an event is not parted by the end of a page
WHOLE_LINES: Final = 12
CLUSTER: Final = 30  # marks that one letter may bear

_CIRCLE: Final = "\u25cc"  # dotted: how Unicode shows a mark without a letter
_JOINER: Final = "\u200d"
# Letters and symbols that are part of the cluster before them: Thai's and Lao's am, Japan's half-width marks, skin tones.
_TRAILING: Final = frozenset("\u0e33\u0eb3\uff9e\uff9f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")
_MARKS: Final = frozenset({"Mn", "Mc", "Me", "Cf"})
_VIRAMA: Final = 9  # combining class: makes one of the letters around it

TEMPLATE: Final = Path(__file__).with_name("timeline.typ")
FONTS: Final = [
    str(files(package))
    for package in ("fontpkg_noto_sans", "fontpkg_ibm_plex_sans_arabic", "noto_cjk_sans_otc")
]


@functools.cache
def _fonts() -> typst.Fonts:
    """Ours, which the template names, and the system's for what ours lack."""
    return typst.Fonts(include_system_fonts=True, include_embedded_fonts=True, font_paths=FONTS)


class Document:
    """A PDF that grows by events. To be used by one thread at a time, and by the same thread as all others."""

    def __init__(self, contact: dict[str, Any]) -> None:
        self._contact = contact
        self._compiler: typst.Compiler | None = None
        self._pages: pypdfium2.PdfDocument | None = None  # those that are laid out
        self._waiting: list[dict[str, Any]] = []
        self._characters = 0

    def add(self, events: list[dict[str, Any]]) -> None:
        """Events as queries show them (docs/timeline.md); one that its reader may not see in full lacks fields."""
        for event in events:
            self._waiting.append(_block(event))
            self._characters += len(event["description"] or "")
            if len(self._waiting) >= PART_EVENTS or self._characters >= PART_CHARACTERS:
                self._lay_out(last=False)

    def finish(self) -> bytes:
        """The whole file."""
        if self._waiting or self._pages is None:
            self._lay_out(last=True)
        assert self._pages is not None
        written = io.BytesIO()
        self._pages.save(written)
        return written.getvalue()

    def close(self) -> None:
        if self._pages is not None:
            self._pages.close()

    def _lay_out(self, *, last: bool) -> None:
        if self._compiler is None:
            self._compiler = typst.Compiler(TEMPLATE, font_paths=_fonts(), ignore_system_fonts=True)
        part = {
            "title": f"Timeline of {self._contact['display_name'] or self._contact['id']}",
            "contact": _header(self._contact) if self._pages is None else None,
            "first_page": 1 if self._pages is None else len(self._pages) + 1,
            "events": self._waiting,
        }
        laid_out = self._compiler.compile(
            sys_inputs={"part": orjson.dumps(part).decode()}, format="pdf", pdf_tags=False
        )
        done = len(self._waiting)
        pages = pypdfium2.PdfDocument(laid_out)
        if not last:
            done, full = _seam(orjson.loads(self._compiler.query("<places>", field="value", one=True)))
            for surplus in range(len(pages) - 1, full - 1, -1):
                pages.del_page(surplus)
        if self._pages is None:
            self._pages = pages  # the first part's, because they bring title and author along
        else:
            self._pages.import_pages(pages)
            pages.close()
        self._waiting = self._waiting[done:]
        self._characters = sum(
            len(event["description"]["text"]) for event in self._waiting if event["description"]
        )


def _seam(places: list[list[int]]) -> tuple[int, int]:
    """How many events of a part to take, and how many pages they fill: the last event but with which a page ends.

    ``places``: the first and the last page of each event. Where no page ends with an event, all are taken.
    """
    for number in range(len(places) - 1, 0, -1):
        (_, ends), (begins, _) = places[number - 1], places[number]
        if begins > ends:
            return number, ends
    return len(places), places[-1][1]


def _header(contact: dict[str, Any]) -> dict[str, Any]:
    identifiers = [_text(f"{i['channel']}: {i['identifier']}") for i in contact["identifiers"]]
    return {
        "name": _text(contact["display_name"] or ""),
        "id": str(contact["id"]),
        "identifiers": identifiers,
    }


def _block(event: dict[str, Any]) -> dict[str, Any]:
    description = event["description"]
    lines = len(description.splitlines()) if description else 0
    said_by = f"Source: {event['source']}"
    if event.get("triggered_by"):
        said_by += f", triggered by {event['triggered_by']}"
    at = event["occurred_at"].isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")
    return {
        "about": f"{at} · {event['category']} · {event['priority']}",
        "title": _text(event["title"]),
        "description": _text(description) if description else None,
        "said_by": _text(said_by),
        "whole": len(description or "") <= WHOLE_CHARACTERS and lines <= WHOLE_LINES,
    }


def _text(text: str) -> dict[str, Any]:
    """A text and its direction, which is that of its first letter (Unicode's rule P2)."""
    letters = (unicodedata.bidirectional(character) for character in text)
    first = next((direction for direction in letters if direction in {"L", "R", "AL"}), "L")
    return {"text": _parted(text.replace("\t", "    ")), "rtl": first != "L"}


def _parted(text: str) -> str:
    """With a dotted circle in a cluster wherever it grows too long: Typst fails at one of 64 KiB, and is slow long before."""
    if text.isascii():
        return text
    parts = []
    length, joins = 0, False
    for character in text:
        goes_on = joins or character in _TRAILING or unicodedata.category(character) in _MARKS
        length = length + 1 if goes_on else 0
        if length > CLUSTER:
            parts.append(_CIRCLE)
            length = 1
        parts.append(character)
        joins = character == _JOINER or unicodedata.combining(character) == _VIRAMA
    return "".join(parts)
