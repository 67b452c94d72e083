"""A client of Elasticsearch 8 or 9. Neither bodies nor credentials are ever logged."""

from __future__ import annotations

import logging
import re

from elastic_transport import TransportError
from elastic_transport.client_utils import url_to_node_config
from elasticsearch import ApiError, AsyncElasticsearch, UnsupportedProductError

MAJOR_VERSIONS = ("8", "9")
TIMEOUT = 2  # seconds, of what somebody waits for


class UnsupportedServer(Exception):
    """Something answers that the indexer cannot work with; waiting does not mend it."""


class Unavailable(Exception):
    """Elasticsearch does not answer now, or not well enough; PostgreSQL can answer instead."""


class Misunderstood(Exception):
    """Elasticsearch refuses the question itself; PostgreSQL can answer it, and the next one may be answered here."""


def connect(url: str) -> AsyncElasticsearch:
    """A client without retries of its own: whoever calls knows better when to ask again.

    ``url`` may be several nodes of one cluster with commas between them, each with user:password. Raises ValueError, whose
    message never holds the URL.
    """
    try:
        nodes = [
            url_to_node_config(node.strip(), use_default_ports_for_scheme=True) for node in url.split(",")
        ]
    except ValueError:
        raise ValueError("not a URL of the form http://host:9200") from None
    # At INFO the transport writes a line for every request.
    logging.getLogger("elastic_transport").setLevel(logging.WARNING)
    return AsyncElasticsearch(nodes, max_retries=0, retry_on_timeout=False)


async def check(client: AsyncElasticsearch) -> str:
    """The server's version. Raises UnsupportedServer when it is neither 8 nor 9, Unavailable when nobody can say."""
    try:
        answer = await client.options(request_timeout=TIMEOUT).info()
        version = str(answer["version"]["number"])
    except (UnsupportedProductError, KeyError, TypeError):
        raise UnsupportedServer("what answers there is no Elasticsearch; version 8 or 9 is needed") from None
    except ApiError as error:
        # A server before 8 does not know the media type that the client asks for.
        if error.status_code in (400, 406):
            raise UnsupportedServer("the server is older than Elasticsearch 8; 8 or 9 is needed") from None
        raise Unavailable(reason(error)) from None
    except TransportError as error:
        raise Unavailable(reason(error)) from None
    if version.partition(".")[0] not in MAJOR_VERSIONS:
        raise UnsupportedServer(f"the server is Elasticsearch {version}; 8 or 9 is needed")
    return version


def reason(error: ApiError | TransportError) -> str:
    """What went wrong in a few words, without anything that was sent."""
    if isinstance(error, ApiError):
        name = error.error if re.fullmatch("[a-z_]+", error.error) else ""
        return f"Elasticsearch answers {error.status_code} {name}".rstrip()
    return f"Elasticsearch cannot be reached: {type(error).__name__}"
