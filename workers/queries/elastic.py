"""Elasticsearch as the queries worker sees it: whether it may be asked is known before a query comes.

Imported only where ELASTICSEARCH_URL is set, for the sake of memory and of the time that a start takes.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from contracts.subjects import NO_TENANT
from ops.logging import get_logger
from storage.search.elastic.connection import Misunderstood, Unavailable, UnsupportedServer, check, connect
from storage.search.elastic.query import TenantIndex
from workers.lag import Lag

LOOK: Final = 1.0  # seconds between two looks at the server and at the lag
TIMEOUT: Final = 2.0  # seconds that it has for a search, and a version to come
POLL: Final = 0.05  # seconds between two looks whether a version is there
PAUSE: Final = 1.0  # seconds without a question after one that failed; twice as many after each further one
MOST_PAUSE: Final = 30.0
UNSEEN: Final = "Elasticsearch has not been looked at yet"

T = TypeVar("T")

log = get_logger(__name__)


class Elastic:
    """The index, while nothing is known to stand against asking it. ``watch`` finds that out, and must run."""

    def __init__(self, url: str, alias: str, max_lag_s: float, lag: Lag) -> None:
        self._client = connect(url)
        self._alias = alias
        self._max_lag_s = max_lag_s
        self._lag = lag
        self._supported = False
        self._seen: list[str] = [UNSEEN]
        self._failure = ""
        self._pause = 0.0
        self._not_before = -float("inf")
        self._complete_to = -float("inf")  # by our clock: every change before that is in the index
        self.lag_s: float | None = None  # as of the last look; None: it could not be known

    def reasons(self) -> list[str]:
        """Why it must not be asked; none: it may."""
        if self._seen or time.monotonic() >= self._not_before:
            return list(self._seen)
        return [self._failure]

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK)
            await self.look()

    async def look(self) -> None:
        """See how the server and the lag are."""
        now = time.monotonic()
        problem, self.lag_s = await asyncio.gather(self._problem(), self._lag.seconds())
        if self.lag_s is not None:
            self._complete_to = now - self.lag_s
        seen = [problem] if problem else []
        if self._lag.incomplete:
            seen.append("the index lacks changes whose events are gone, until it is built anew")
        if now - self._complete_to > self._max_lag_s:  # a lag grows no faster than time goes
            seen.append(
                "how far the index is behind cannot be known"
                if self.lag_s is None
                else f"the index is {self.lag_s:.0f} s behind, more than {self._max_lag_s:g} s"
            )
        if bool(seen) != bool(self._seen) or self._seen == [UNSEEN]:
            log.info("searches go to", engine="postgres" if seen else "elasticsearch", reasons=seen)
        self._seen = seen

    async def ask(self, tenant: str, question: Callable[[TenantIndex], Awaitable[T]]) -> T | None:
        """What the tenant's index answers; None when anything goes wrong, or it takes longer than TIMEOUT."""
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await question(TenantIndex(self._client, self._alias, tenant))
        except Exception as error:  # noqa: BLE001 - whatever it is, Postgres can answer
            self._fail(error)
            return None
        self._pause = 0.0
        return answer

    async def wait(self, tenant: str, contact_id: uuid.UUID, version: int) -> bool:
        """Wait until the index holds the version; False where it does not within TIMEOUT."""
        index = TenantIndex(self._client, self._alias, tenant)
        try:
            async with asyncio.timeout(TIMEOUT):
                while not await index.holds(contact_id, version):  # noqa: ASYNC110 - nobody tells us
                    await asyncio.sleep(POLL)
        except TimeoutError:
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, Postgres has the version
            self._fail(error)
            return False
        return True

    async def close(self) -> None:
        await self._client.close()
        await self._lag.close()

    async def _problem(self) -> str | None:
        try:
            async with asyncio.timeout(TIMEOUT):
                if not self._supported:
                    await check(self._client)
                    self._supported = True
                await TenantIndex(self._client, self._alias, NO_TENANT).holds(uuid.UUID(int=0), 1)
        except Exception as error:  # noqa: BLE001 - or the looking ends, and what was seen last stands for ever
            self._supported = False
            return _said(error)
        return None

    def _fail(self, error: Exception) -> None:
        """Let nobody ask for a while: what stands in the way may not show in a look. A question's own fault is no other's."""
        if isinstance(error, Misunderstood):
            log.error("Elasticsearch refused a search", error=str(error))
            return
        self._failure = _said(error)
        self._supported = False  # who comes back may be another server
        self._pause = min(2 * self._pause or PAUSE, MOST_PAUSE)
        self._not_before = time.monotonic() + self._pause


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"Elasticsearch did not answer within {TIMEOUT:g} s"
    if isinstance(error, Unavailable | Misunderstood | UnsupportedServer):
        return str(error)
    log.error("Elasticsearch was not understood", error=type(error).__name__, exc_info=error)
    return f"Elasticsearch was not understood ({type(error).__name__})"
