"""Writing documents, each with its contact's version: the newest stays, whatever comes when and however often.

Writes go to the alias ``<index>-write`` and only to an alias, so that a write to an index that was dropped meanwhile never
makes a new one of that name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from storage.search.elastic.connection import reason
from storage.search.elastic.documents import Document

CHUNK_BYTES = 5_000_000  # of one request, but for a single document that is larger
CHUNK = 1_000  # documents of one request
TIMEOUT = 30  # seconds, of one request

_Chunk = list[tuple[Document, bytes]]  # each with its two lines of the request

_ANSWER = ("errors", "items.*.status", "items.*.error.type", "items.*.error.reason")


@dataclass(frozen=True, slots=True)
class Refused:
    """A document that the mapping does not take; trying again does not help."""

    document: Document
    reason: str


@dataclass(slots=True)
class Written:
    """What became of the documents that did not go in; all others are there."""

    refused: list[Refused] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)  # targets without their alias: nothing was written there
    # By target: it has the version, or a newer one.
    kept: dict[str, list[Document]] = field(default_factory=dict)


class Retry(Exception):
    """The server cannot take it now. Whatever went in already may be written again."""


def write_alias(index: str) -> str:
    return f"{index}-write"


async def write(
    client: AsyncElasticsearch, targets: Sequence[str], documents: Sequence[Document], *, again: bool = False
) -> Written:
    """Write documents into every target (names of indexes). ``again``: also over the same version. Raises Retry."""
    written = Written()
    for chunk in _chunks(documents, again=again):
        for target in targets:
            if target not in written.gone:
                await _send(client, target, chunk, written)
    return written


async def _send(client: AsyncElasticsearch, target: str, chunk: _Chunk, written: Written) -> None:
    try:
        answer = await client.options(request_timeout=TIMEOUT).bulk(
            index=write_alias(target),
            operations=b"".join(line for _, line in chunk),  # type: ignore[arg-type]  # bytes are sent as they are
            require_alias=True,
            filter_path=_ANSWER,
        )
    except ApiError as error:
        if error.status_code != 413:  # what stands before the server may take less than CHUNK_BYTES
            raise Retry(reason(error)) from None
        if len(chunk) == 1:
            written.refused.append(Refused(chunk[0][0], "larger than a request may be"))
            return
        half = len(chunk) // 2
        await _send(client, target, chunk[:half], written)
        await _send(client, target, chunk[half:], written)
        return
    except TransportError as error:
        raise Retry(reason(error)) from None
    if not answer["errors"]:
        return
    for (document, _), item in zip(chunk, answer["items"], strict=True):
        status, why = item["index"]["status"], item["index"].get("error", {})
        if status < 300:
            continue
        if status == 409:
            written.kept.setdefault(target, []).append(document)
            continue
        if status == 404:
            written.gone.add(target)
            return
        if status != 400:
            raise Retry(f"Elasticsearch answers {status} {why.get('type', '')}".rstrip())
        written.refused.append(Refused(document, _why(why)))


def _chunks(documents: Sequence[Document], *, again: bool) -> Iterator[_Chunk]:
    kind = "external_gte" if again else "external"
    chunk: _Chunk = []
    size = 0
    for document in documents:
        action = {
            "_id": document.source["contact_id"],
            "routing": document.tenant_id,
            "version": document.version,
            "version_type": kind,
        }
        line = b'{"index":%b}\n%b\n' % (orjson.dumps(action), orjson.dumps(document.source))
        if chunk and (len(chunk) == CHUNK or size + len(line) > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append((document, line))
        size += len(line)
    if chunk:
        yield chunk


def _why(error: dict[str, Any]) -> str:
    """Type and reason, without the piece of the value that Elasticsearch quotes."""
    text = str(error.get("reason", "")).partition(" Preview of field's value")[0]
    return f"{error.get('type', 'error')}: {text}"[:500]
