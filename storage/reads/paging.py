"""Cursors and totals of pages.

A cursor is a position in an order, with a checksum over the position and everything that the page was asked with. It
holds no secret: whatever a cursor says, the tenant and the filters come from the request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Select, func, literal, select

from storage import base64url
from storage.reads.session import TenantReads

EXACT_TO = 10_000  # rows that are counted unless the request wants the exact number
_CHECKSUM = 9  # bytes


class CursorError(Exception):
    """A cursor that this very list did not give out: altered, or of another tenant, filter or order."""


class Total(NamedTuple):
    rows: int
    at_least: bool  # there are more rows than were counted

    def meta(self) -> dict[str, Any]:
        return {"total": self.rows, "total_is": "at_least" if self.at_least else "exact"}


def seal(asked: Mapping[str, Any], position: list[Any]) -> str:
    """The cursor of a position (JSON values) in the list that was asked for."""
    body = orjson.dumps(position, default=str)
    return base64url.encode(_checksum(asked, body) + body)


def unseal(asked: Mapping[str, Any], cursor: str) -> list[Any]:
    """The position of a cursor. Raises CursorError."""
    try:
        raw = base64url.decode(cursor)
    except ValueError as error:
        raise CursorError from error
    checksum, body = raw[:_CHECKSUM], raw[_CHECKSUM:]
    if checksum != _checksum(asked, body):
        raise CursorError
    position: list[Any] = orjson.loads(body)
    return position


def _checksum(asked: Mapping[str, Any], body: bytes) -> bytes:
    of = orjson.dumps(
        asked, option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC, default=str
    )
    return hashlib.blake2b(of + b"\0" + body, digest_size=_CHECKSUM).digest()


async def count(reads: TenantReads, matching: Select[Any], *, exact: bool, **parameters: Any) -> Total:
    """How many rows match; up to EXACT_TO of them unless ``exact``. The parameters are those of ``matching``."""
    if exact:
        whole = select(func.count()).select_from(matching.subquery())
        return Total(await reads.scalar(whole, **parameters), at_least=False)
    some = matching.limit(literal(EXACT_TO + 1)).subquery()
    found = await reads.scalar(select(func.count()).select_from(some), **parameters)
    return Total(min(found, EXACT_TO), at_least=found > EXACT_TO)
