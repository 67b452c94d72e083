"""Exports of timelines, read back by other programs than those that wrote them."""

from __future__ import annotations

import csv
import io
import uuid
from typing import Any

from pypdf import PdfReader

from storage.reads.session import Reads
from workers.exports.export import export


async def exported(reads: Reads, contact: uuid.UUID, kind: str, tenant: str = "a", **narrowed: Any) -> bytes:
    return b"".join([piece async for piece in await export(reads, tenant, contact, kind, **narrowed)])


def rows(written: bytes) -> list[dict[str, str]]:
    """The events of a CSV."""
    return list(csv.DictReader(io.StringIO(written.decode("utf-8-sig"), newline=""), strict=True))


def pages(written: bytes) -> list[str]:
    """The text of each page of a PDF."""
    return [page.extract_text() for page in PdfReader(io.BytesIO(written), strict=True).pages]
