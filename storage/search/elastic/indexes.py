"""The indexes behind the alias: made to be filled, made to serve, moved under the alias, dropped.

An index is named ``<alias>-<time>-<four digits>``, never the same twice. Every step may be taken again.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch, BadRequestError, NotFoundError

from storage.search.elastic import mapping
from storage.search.elastic.bulk import Retry, write_alias
from storage.search.elastic.connection import reason

TIMEOUT = 60  # seconds
INDEX_NOT_FOUND = "index_not_found_exception"

# While an index is filled nobody searches it, and what is lost with its node is filled again.
_FILLING = {"refresh_interval": "-1", "auto_expand_replicas": "false", "number_of_replicas": 0}

_MAY_PASS = (401, 403, 429)  # rights may be given, load may go


class Gone(Retry):
    """The index has been dropped meanwhile; whoever filled it begins with another."""


class Refused(Exception):
    """Elasticsearch does not do it; asking again does not help."""


def new_name(alias: str) -> str:
    return f"{alias}-{datetime.now(UTC):%Y%m%d%H%M%S}-{secrets.token_hex(2)}"


async def make(client: AsyncElasticsearch, index: str, shards: int) -> None:
    """A new index to fill. Raises Retry and Refused, as all here do."""
    body = mapping.body(shards)
    body["settings"] |= _FILLING
    with asking():
        await client.options(request_timeout=TIMEOUT).indices.create(
            index=index, **body, aliases={write_alias(index): {}}
        )


async def exists(client: AsyncElasticsearch, index: str) -> bool:
    with asking():
        return bool(await client.options(request_timeout=TIMEOUT).indices.exists(index=index))


async def open_to_searches(client: AsyncElasticsearch, index: str) -> None:
    """Refresh and replicate it as ``mapping`` says; what was written until now is seen when this returns."""
    meant = mapping.body(1)["settings"]
    settings = {name: meant.get(name) for name in _FILLING}
    if meant.get("auto_expand_replicas"):
        del settings["number_of_replicas"]  # it follows from the nodes there are
    with asking():
        patient = client.options(request_timeout=TIMEOUT)
        await patient.indices.put_settings(index=index, settings={"index": settings})
        await patient.indices.refresh(index=index)


async def behind(client: AsyncElasticsearch, alias: str) -> set[str]:
    """The indexes that searches of the alias go to."""
    with asking():
        try:
            answer = await client.options(request_timeout=TIMEOUT).indices.get_alias(name=alias)
        except NotFoundError:
            return set()
    return set(answer)


async def serves(client: AsyncElasticsearch, alias: str, index: str) -> bool:
    """Whether the index takes writes, and searches of the alias go to it."""
    with asking():
        answer = await client.options(request_timeout=TIMEOUT, ignore_status=404).indices.get_alias(
            index=index
        )
    aliases: dict[str, Any] = answer.get(index, {}).get("aliases", {})
    return {alias, write_alias(index)} <= aliases.keys()


async def count(client: AsyncElasticsearch, index: str) -> int:
    """The documents of contacts that are not deleted, as of the last refresh."""
    with asking():
        answer = await client.options(request_timeout=TIMEOUT).count(
            index=index, query={"bool": {"must_not": [{"term": {"deleted": True}}]}}
        )
    return int(answer["count"])


async def move_alias(client: AsyncElasticsearch, alias: str, index: str) -> None:
    """Searches go to this index, and to no other, from one moment to the next; what was written until now they see there too."""
    actions: list[dict[str, Any]] = [
        {"remove": {"index": old, "alias": alias}} for old in sorted(await behind(client, alias) - {index})
    ]
    actions.append({"add": {"index": index, "alias": alias}})
    patient = client.options(request_timeout=TIMEOUT)
    with asking():
        try:
            await patient.indices.refresh(index=index)
            await patient.indices.update_aliases(actions=actions)
        except BadRequestError as error:
            if error.error == "invalid_alias_name_exception":
                raise Refused(
                    f"{alias} is the name of an index, not of an alias: delete it, or set ROLLCALL_SEARCH_INDEX"
                ) from None
            raise


async def drop_others(client: AsyncElasticsearch, alias: str, keep: Collection[str]) -> list[str]:
    """Drop what rebuilds have left behind: every index of that alias but those that are kept or searched."""
    ours = re.compile(rf"{re.escape(alias)}-[0-9]{{14}}-[0-9a-f]{{4}}")
    kept = {*keep, *await behind(client, alias)}
    with asking():
        patient = client.options(request_timeout=TIMEOUT)
        answer = await patient.indices.get_alias(index=f"{alias}-*")
        dropped = sorted(name for name in answer if ours.fullmatch(name) and name not in kept)
        for name in dropped:
            await patient.indices.delete(index=name, ignore_unavailable=True)
    return dropped


@contextlib.contextmanager
def asking() -> Iterator[None]:
    """Around a request: what its errors mean. Raises Retry, Gone, Refused."""
    try:
        yield
    except ApiError as error:
        if error.error == INDEX_NOT_FOUND:
            raise Gone(reason(error)) from None
        if error.status_code in _MAY_PASS or error.status_code >= 500:
            raise Retry(reason(error)) from None
        raise Refused(reason(error)) from None
    except TransportError as error:
        raise Retry(reason(error)) from None
