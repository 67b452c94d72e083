"""Comparing an index with PostgreSQL, contact by contact, and mending what differs.

Both are read side by side, a chunk of contacts at a time. Writes go on meanwhile, so a difference is only noted at first
and looked at once more after a moment: it counts when the index still does not hold what PostgreSQL held at first sight.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final

import asyncpg
from elasticsearch import AsyncElasticsearch

from storage.contacts import ContactKey
from storage.search.elastic import bulk, documents
from storage.search.elastic.entries import Entries, Place, TextKey
from storage.search.elastic.indexes import Gone
from storage.search.elastic.patience import patiently
from storage.search.findings import Finding, Report, Row, judge, judge_again

CHUNK: Final = 5_000  # contacts that are compared at a time
LOOK: Final = 1_000  # differences that are looked at, or mended, at a time
MOST_NOTED: Final = 20_000  # differences that wait for their second look
MOMENT: Final = 2.0  # seconds between the two looks
EXAMPLES: Final = 20

_COLUMNS = "tenant_id, id, version, deleted_at is not null, merged_into is not null"

ROWS = f"select {_COLUMNS} from contacts where (tenant_id, id) > ($1::text, $2::uuid) order by tenant_id, id limit $3"

ROWS_OF_TENANT = (
    f"select {_COLUMNS} from contacts where tenant_id = $1::text and id > $2::uuid order by id limit $3"
)

ROWS_BY_KEY = f"""
select {_COLUMNS} from unnest($1::text[], $2::uuid[]) as k(tenant, contact),
lateral (select * from contacts where tenant_id = k.tenant and id = k.contact offset 0) as c
"""

STRANGERS = """
select k.tenant from unnest($1::text[]) as k(tenant)
where not exists (select from contacts where tenant_id = k.tenant)
"""

_FIRST_ID: Final = uuid.UUID(int=0)  # before every id that there is


async def audit(
    connection: asyncpg.Connection,
    client: AsyncElasticsearch,
    index: str,
    tenant: str | None = None,
    *,
    repair: bool = False,
    moment: float = MOMENT,
    progress: Callable[[int], None] = lambda _checked: None,
) -> Report:
    """Compare all contacts, or one tenant's, with the index; as the writer. ``repair``: mend what can be mended in place.

    What is ahead cannot be: only a database that was restored to an earlier time has it so, and a new index mends it.
    ``progress`` is told how many contacts were checked. Raises Gone, Retry, and what the database raises.
    """
    entries = Entries(client, index, tenant)
    await entries.refresh()
    return await _Audit(connection, client, index, entries, tenant, repair, moment, progress).run()


async def ahead(
    connection: asyncpg.Connection, client: AsyncElasticsearch, index: str, keys: Sequence[ContactKey]
) -> list[ContactKey]:
    """Those of the contacts that the index holds in a newer version than PostgreSQL. Raises Gone and Retry."""
    # In this order: what the index has by now cannot be newer than what is read of PostgreSQL after it.
    present = await Entries(client, index).present(keys)
    rows = await connection.fetch(ROWS_BY_KEY, [tenant for tenant, _ in keys], [one for _, one in keys])
    found = {(tenant, contact_id): Row(*rest) for tenant, contact_id, *rest in rows}
    return [key for key, (entry, _) in present.items() if judge(found.get(key), entry) == "ahead"]


class _Audit:
    """One run."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        client: AsyncElasticsearch,
        index: str,
        entries: Entries,
        tenant: str | None,
        repair: bool,
        moment: float,
        progress: Callable[[int], None],
    ) -> None:
        self._connection = connection
        self._client = client
        self._index = index
        self._entries = entries
        self._tenant = tenant
        self._repair = repair
        self._moment = moment
        self._progress = progress
        self._report = Report()
        self._speaking = asyncio.Lock()  # the connection takes one statement at a time
        self._noted: dict[ContactKey, tuple[Row | None, float]] = {}  # in the order of their first looks

    async def run(self) -> Report:
        after: ContactKey = (self._tenant or "", _FIRST_ID)
        reading = asyncio.ensure_future(self._rows(after))
        try:
            while True:
                chunk = await reading
                last = (chunk[-1][0], chunk[-1][1]) if len(chunk) == CHUNK else None
                if last is not None:  # read while this chunk is compared
                    reading = asyncio.ensure_future(self._rows(last))
                await self._compare(chunk, after, last)
                self._report.checked += len(chunk)
                self._progress(self._report.checked)
                await self._settle(MOST_NOTED)
                if last is None:
                    break
                after = last
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        if self._tenant is None:
            await self._compare_strangers()
        await self._settle(0)
        return self._report

    # -- the first look

    async def _rows(self, after: ContactKey) -> list[asyncpg.Record]:
        return await self._fetch(ROWS if self._tenant is None else ROWS_OF_TENANT, *after, CHUNK)

    async def _fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self._speaking:
            return list(await self._connection.fetch(statement, *arguments))

    async def _compare(
        self, chunk: Sequence[asyncpg.Record], after: ContactKey, last: ContactKey | None
    ) -> None:
        """All that the index holds from after one contact to the last of the chunk, or (None) to the end."""
        rows = {(tenant, str(contact_id)): Row(*rest) for tenant, contact_id, *rest in chunk}
        async for key, entry in self._entries.between(after, (tenant for tenant, *_ in chunk), last):
            row = rows.pop(key, None)
            if judge(row, entry):
                self._note(key, row)
        for key, row in rows.items():
            if judge(row, None):
                self._note(key, row)

    async def _compare_strangers(self) -> None:
        """Tenants in the index that have no contact at all."""
        async for tenants in self._entries.tenants():
            strangers = [tenant for (tenant,) in await self._fetch(STRANGERS, tenants)]
            if strangers:
                async for key, _ in self._entries.of_tenants(strangers):
                    self._note(key, None)
                    await self._settle(MOST_NOTED)

    def _note(self, key: TextKey, row: Row | None) -> None:
        self._noted[key[0], uuid.UUID(key[1])] = (row, time.monotonic())

    # -- the second look

    async def _settle(self, leave: int) -> None:
        """Look again at all that was noted a moment ago; wait until no more than ``leave`` are left."""
        while self._noted:
            now = time.monotonic()
            due = [key for key, (_, at) in islice(self._noted.items(), LOOK) if at + self._moment <= now]
            if due:
                await self._look_again({key: self._noted.pop(key)[0] for key in due})
            elif len(self._noted) > leave:
                _, at = next(iter(self._noted.values()))
                await asyncio.sleep(at + self._moment - now)
            else:
                return

    async def _look_again(self, noted: dict[ContactKey, Row | None]) -> None:
        # In this order: what the index has by now cannot be newer than what is read of PostgreSQL after it.
        present = await self._entries.present(list(noted))
        tenants, ids = [tenant for tenant, _ in noted], [contact_id for _, contact_id in noted]
        rows = {(t, i): Row(*rest) for t, i, *rest in await self._fetch(ROWS_BY_KEY, tenants, ids)}
        findings: list[Finding] = []
        for key, before in noted.items():
            row = rows.get(key)
            entry, _ = present.get(key, (None, None))
            kind = judge_again(before, row, entry)
            if kind is not None:
                versions = (row.version if row else None, entry.version if entry else None)
                findings.append(Finding(kind, *key, *versions))
                setattr(self._report, kind, getattr(self._report, kind) + 1)
        self._report.examples += findings[: EXAMPLES - len(self._report.examples)]
        if self._repair:
            await self._mend(
                [(f.tenant_id, f.contact_id) for f in findings if f.kind != "ahead" and f.version]
            )
            await self._remove(
                {key: present[key][1] for f in findings if (key := (f.tenant_id, f.contact_id)) not in rows}
            )

    # -- mending

    async def _mend(self, keys: Sequence[ContactKey]) -> None:
        """Write what PostgreSQL holds."""
        if not keys:
            return
        async with self._speaking:
            loaded = list((await documents.load(self._connection, keys)).values())
        written = await patiently(lambda: bulk.write(self._client, [self._index], loaded, again=True))
        if written.gone:
            raise Gone(f"the index {self._index} is gone")
        self._report.mended += len(loaded) - len(written.refused)
        self._report.refused += len(written.refused)

    async def _remove(self, places: dict[ContactKey, Place]) -> None:
        """Take out what PostgreSQL knows nothing of."""
        if places:
            self._report.mended += await self._entries.remove(places)
