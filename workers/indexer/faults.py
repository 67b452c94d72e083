"""What an indexer waits out. Anything else is a fault of ours."""

from __future__ import annotations

from typing import Final

from contracts.subjects import EVENTS
from storage.search.elastic.bulk import Retry
from storage.search.elastic.connection import Unavailable, UnsupportedServer
from workers import faults
from workers.jetstream import NO_STREAM, Refused

AWAY: Final = (Unavailable, UnsupportedServer)  # nobody answers who could take anything
SEARCH: Final = (Retry, *AWAY)  # Elasticsearch's own
TRANSIENT: Final = (*SEARCH, *faults.TRANSIENT)


def said(error: BaseException) -> str:
    """The fault in words for an operator."""
    if isinstance(error, Refused) and error.code == NO_STREAM:
        return f"stream {EVENTS.name} does not exist: run `rollcall streams`"
    if isinstance(error, SEARCH):
        return str(error)
    return faults.said(error)
