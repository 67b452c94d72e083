"""Bytes as text for cursors: base64url without padding, of which each value has one spelling."""

from __future__ import annotations

import base64


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Raises ValueError, also for a spelling that ``encode`` would not give: its last letter may hold stray bits."""
    raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if encode(raw) != text:
        raise ValueError("not spelled as it would be")
    return raw
