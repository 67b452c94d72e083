"""What a query is asked in."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from storage.reads.session import Reads, TenantReads
from workers.queries.search import Search


@dataclass(frozen=True, slots=True)
class Context:
    """``region`` is that of the tenant's numbers without a country code; ``most_bytes`` is what an answer may hold."""

    tenant: str
    region: str | None
    search: Search
    _reads: Reads
    most_bytes: int

    def reads(self) -> AbstractAsyncContextManager[TenantReads]:
        """A transaction of the tenant. It holds one of a few connections: for no longer than what is read takes."""
        return self._reads.of(self.tenant)
