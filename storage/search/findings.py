"""What an audit finds: how a contact in PostgreSQL and its document in the index differ. Pure."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

Kind = Literal["missing", "extra", "stale", "ahead"]
KINDS: Final[tuple[Kind, ...]] = ("missing", "extra", "stale", "ahead")


class Row(NamedTuple):
    """What PostgreSQL holds of a contact."""

    version: int
    deleted: bool
    merged: bool


class Entry(NamedTuple):
    """What an index holds of a contact."""

    version: int
    deleted: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference. Versions are None where there is no contact, or no document."""

    kind: Kind
    tenant_id: str
    contact_id: uuid.UUID
    version: int | None
    indexed: int | None


@dataclass(slots=True)
class Report:
    """``checked`` contacts were compared. Of the findings ``mended`` are no more, and ``refused`` the index does not take."""

    checked: int = 0
    missing: int = 0
    extra: int = 0
    stale: int = 0
    ahead: int = 0
    mended: int = 0
    refused: int = 0
    examples: list[Finding] = field(default_factory=list)

    @property
    def found(self) -> int:
        return self.missing + self.extra + self.stale + self.ahead

    @property
    def agrees(self) -> bool:
        """Whether nothing differs any more."""
        return self.found == self.mended


def judge(row: Row | None, entry: Entry | None) -> Kind | None:
    """What is wrong with an entry. A contact that is gone needs none, and may have one that says so."""
    gone = row is None or row.deleted or row.merged
    if entry is None:
        return None if gone else "missing"
    if row is None:
        return "extra"
    if entry.version > row.version:
        return "ahead"
    if row.merged and not entry.deleted:
        return "extra"
    return "stale" if entry.version < row.version or entry.deleted != gone else None


def judge_again(before: Row | None, row: Row | None, entry: Entry | None) -> Kind | None:
    """What is wrong at the second look; ``before`` is the row of the first one, ``row`` was read after the entry.

    Where the index holds by now what was there at first sight, or newer, the rest is on its way.
    """
    kind = judge(row, entry)
    if kind in (None, "ahead"):
        return kind
    if (before is None) != (row is None):
        return None  # it has only just come, or gone
    return None if judge(before, entry) in (None, "ahead") else kind
