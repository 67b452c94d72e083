"""How far a client has come, as the opaque cursor in its frames: signed, and bound to the tenant and the stream. Pure.

A position is a sequence of the stream EVENTS, because that is the one order in which every instance sees the events. While a
contact's client is sent what waited for it (``Opening``) it is also a place in that.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import uuid
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from storage import base64url

_MAC: Final = 16  # bytes
_PLACE: Final = struct.Struct(">8sqQ")  # tenant, stream, sequence
_OPENING: Final = struct.Struct(">16sQq")  # contact, its sequence, since
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class BadCursor(Exception):
    """Not a cursor that any of us made."""


class Foreign(Exception):
    """A cursor of another tenant."""


class Opening(NamedTuple):
    """A contact's undelivered events, sent up to one of its sequences. ``since`` is when the first of them was."""

    contact_id: uuid.UUID
    sent: int
    since: datetime


class Position(NamedTuple):
    """Behind this sequence of the stream that was created then, everything has been sent; but for what ``opening`` says."""

    created: datetime
    sequence: int
    opening: Opening | None = None


class Cursors:
    """``key`` is that of all instances."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, tenant: str, position: Position) -> str:
        body = _PLACE.pack(_short(tenant), _micros(position.created), position.sequence)
        if position.opening is not None:
            contact_id, sent, since = position.opening
            body += _OPENING.pack(contact_id.bytes, sent, _micros(since))
        return base64url.encode(self._mac(body) + body)

    def unseal(self, tenant: str, cursor: str) -> Position:
        """Raises BadCursor and Foreign."""
        try:
            raw = base64url.decode(cursor)
        except ValueError as error:
            raise BadCursor from error
        mac, body = raw[:_MAC], raw[_MAC:]
        if len(body) not in (_PLACE.size, _PLACE.size + _OPENING.size):
            raise BadCursor
        if not hmac.compare_digest(mac, self._mac(body)):  # in a time that says nothing of how much is right
            raise BadCursor
        whose, created, sequence = _PLACE.unpack_from(body)
        if whose != _short(tenant):
            raise Foreign
        opening = None
        if len(body) > _PLACE.size:
            contact_id, sent, since = _OPENING.unpack_from(body, _PLACE.size)
            opening = Opening(uuid.UUID(bytes=contact_id), sent, _EPOCH + since * _MICROSECOND)
        return Position(_EPOCH + created * _MICROSECOND, sequence, opening)

    def _mac(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, key=self._key, digest_size=_MAC).digest()


def _short(tenant: str) -> bytes:
    return hashlib.blake2b(tenant.encode(), digest_size=8).digest()


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
