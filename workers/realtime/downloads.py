"""A contact's timeline as a file, for who may see it."""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import AsyncIterator
from typing import Final

from starlette.responses import JSONResponse, Response, StreamingResponse

from ops.logging import Operation, get_logger
from storage.reads.contacts import ById
from storage.reads.session import Reads
from workers.exports.apart import Apart
from workers.exports.export import MEDIA_TYPES, Format, export
from workers.faults import TRANSIENT
from workers.queries.handlers.answer import Refusal, found
from workers.realtime.rights import Rights

NEEDED: Final = "typst"  # of the extra that makes PDFs

log = get_logger("workers.realtime.downloads")


class Downloads:
    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._apart = Apart()

    async def answer(self, rights: Rights, contact_id: uuid.UUID, format: Format) -> Response:  # noqa: A002
        """The file, or why there is none: what the session may not see is not there."""
        if rights.contacts is not None and contact_id not in rights.contacts:
            return refused(404, "contact_not_found", "no such contact")
        if format == "pdf" and importlib.util.find_spec(NEEDED) is None:
            return refused(501, "not_installed", "PDFs need the extra: pip install '.[export]' in a checkout")
        try:
            if format == "csv":
                pieces = await export(self._reads, rights.tenant, contact_id, format, rights.audience)
            else:
                async with self._reads.of(rights.tenant) as reading:
                    await found(reading, ById(contact_id), include_deleted=True, whole=False)
                pieces = self._apart.pieces(rights.tenant, contact_id, rights.audience)
        except Refusal as refusal:
            return refused(404, refusal.code, str(refusal))
        except TRANSIENT:
            return refused(503, "unavailable", "the database is out of reach; try again")
        headers = {
            "content-disposition": f'attachment; filename="timeline-{contact_id}.{format}"',
            "cache-control": "no-store",
        }
        told = _told(pieces, rights.tenant, contact_id, format)
        return StreamingResponse(told, media_type=MEDIA_TYPES[format], headers=headers)


async def _told(
    pieces: AsyncIterator[bytes],
    tenant: str,
    contact_id: uuid.UUID,
    format: Format,  # noqa: A002
) -> AsyncIterator[bytes]:
    """The pieces, with a START and an END in the log. What fails on the way cuts the answer off, so that nobody takes it for whole."""
    operation = Operation(log, "export", tenant=tenant, contact_id=str(contact_id), format=format)
    size = 0
    try:
        async for piece in pieces:
            size += len(piece)
            yield piece
    except Exception as error:
        operation.fail(error)
        raise
    operation.end(bytes=size)


def refused(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)
