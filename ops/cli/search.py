"""``search``: the index of Elasticsearch, made anew, compared with PostgreSQL, and how it is."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.messages import AsJson
from ops.cli.output import APPLIED, REJECTED, WRONG_USAGE, Failure, check_tenant, print_json, run

if TYPE_CHECKING:
    import asyncpg
    from elasticsearch import AsyncElasticsearch

    from storage.search.findings import Report

LATEST = 5  # rebuilds that are shown

app = typer.Typer(help="The search index in Elasticsearch: rebuild, audit, status.")

Tenant = Annotated[str | None, typer.Option(help="Only this tenant's contacts.", show_default=False)]


@app.command()
def rebuild(
    tenant: Tenant = None,
    json: Annotated[bool, typer.Option("--json", help="Print an object a line.")] = False,
) -> None:
    """Build a new index of all contacts while the old one serves; or index one tenant's anew, in place.

    It goes on with a rebuild that was interrupted; while another process works on one, it shows how far that is.
    """
    check_tenant(tenant)

    async def work() -> None:
        from ops.cli.rebuilding import Bar, Lines, Rebuilding

        async with _servers() as servers:
            with contextlib.nullcontext(Lines()) if json else Bar() as show:
                await Rebuilding(
                    servers.dsn,
                    servers.search,
                    alias=servers.alias,
                    shards=servers.shards,
                    tenant=tenant,
                    show=show,
                ).run()

    run(work())


@app.command()
def audit(
    tenant: Tenant = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what differs.")] = False,
    json: AsJson = False,
) -> None:
    """Compare the index with PostgreSQL: missing, extra and stale documents.

    Exit code: 0 nothing differs, or all is mended; 1 something does.
    """
    check_tenant(tenant)

    async def work() -> tuple[str, Report]:
        from storage.search import state
        from storage.search.audit import audit as compare
        from storage.search.elastic.indexes import Gone

        async with _servers() as servers, _database(servers.dsn) as connection:
            index = (await state.read(connection)).live
            if index is None:
                raise Failure("there is no index yet: run `rollcall search rebuild`", REJECTED)
            try:
                return index, await compare(connection, servers.search, index, tenant, repair=repair)
            except Gone:
                raise Failure(
                    f"Elasticsearch has no index {index}: run `rollcall search rebuild`", REJECTED
                ) from None

    index, report = run(work())
    if json:
        print_json({"index": index, **asdict(report)})
    else:
        typer.echo(_findings(index, report))
    raise typer.Exit(APPLIED if report.agrees else REJECTED)


def _findings(index: str, report: Report) -> str:
    lines = [f"{report.checked:,} contacts compared with {index}: nothing differs"]
    if report.found:
        counts = f"{report.missing:,} missing, {report.extra:,} extra, {report.stale:,} stale, {report.ahead:,} ahead"
        lines = [f"{report.checked:,} contacts compared with {index}: {counts}; {report.mended:,} mended"]
    for found in report.examples:
        here = "no contact" if found.version is None else f"version {found.version}"
        there = "no document" if found.indexed is None else f"version {found.indexed} in the index"
        lines.append(f"  {found.kind:7}  {found.tenant_id} {found.contact_id}: {here}, {there}")
    if report.found > len(report.examples):
        lines.append(f"  and {report.found - len(report.examples):,} more")
    if report.ahead:
        lines.append(
            "Documents are ahead: PostgreSQL was restored to an earlier time. `rollcall search rebuild` mends that"
        )
    if report.refused:
        lines.append(
            f"{report.refused:,} cannot be indexed: `rollcall dlq list --reason not_indexable` may say why"
        )
    if not report.mended and report.found > report.ahead:
        lines.append("`rollcall search audit --repair` mends what is missing, extra or stale")
    return "\n".join(lines)


@app.command()
def status(tenant: Tenant = None, json: AsJson = False) -> None:
    """Show which index serves, how far it is behind, and the latest rebuilds."""
    check_tenant(tenant)

    async def work() -> dict[str, Any]:
        from storage.search import state
        from storage.search.elastic import indexes

        async with _servers() as servers, _database(servers.dsn) as connection:
            known = await state.read(connection)
            serving = next(iter(await indexes.behind(servers.search, servers.alias)), None)
            latest = await state.rebuilds(connection, tenant, LATEST)
            return {
                "elasticsearch": servers.version,
                "alias": servers.alias,
                "serves": serving,
                "documents": await indexes.count(servers.search, serving) if serving else None,
                "next": known.next,
                "lag_s": await _lag(servers.dsn),
                "rebuilds": [asdict(seen) for seen in latest],
            }

    found = run(work())
    if json:
        print_json(found)
    else:
        typer.echo("\n".join(_lines(found)))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"Elasticsearch {found['elasticsearch']}"
    if found["serves"]:
        yield f"{found['alias']} is {found['serves']}: {found['documents']:,} documents"
    else:
        yield f"there is no {found['alias']}, PostgreSQL answers searches: run `rollcall search rebuild`"
    if found["next"]:
        yield f"{found['next']} is being built"
    if found["lag_s"] is None:
        yield "how far it is behind is not known: NATS is out of reach, or no indexer has ever run"
    else:
        yield f"{found['lag_s']:.1f} s behind"
    for seen in found["rebuilds"]:
        whom = "all tenants" if seen["tenant"] is None else f"tenant {seen['tenant']}"
        total = "" if seen["total"] is None else f" of {seen['total']:,}"
        error = f": {seen['error']}" if seen["error"] else ""
        yield (
            f"{seen['created_at']:%Y-%m-%d %H:%M:%S}  {seen['status']:7}  {whom}, {seen['done']:,}{total} contacts{error}"
        )


@dataclass(frozen=True, slots=True)
class _Servers:
    search: AsyncElasticsearch
    version: str
    dsn: str
    alias: str
    shards: int


@contextlib.asynccontextmanager
async def _servers() -> AsyncIterator[_Servers]:
    """What the settings name, with a server that answers and that we can work with. Raises Failure and Unreachable."""
    from ops import reach
    from ops.logging import configure
    from ops.settings import DatabaseSettings, SearchSettings, read
    from storage.search.elastic import indexes
    from storage.search.elastic.bulk import Retry

    configure("error")  # what goes wrong is said in a line of ours
    settings, dsn = read(SearchSettings), read(DatabaseSettings).postgres_dsn
    if settings.elasticsearch_url is None:
        raise Failure(
            "ELASTICSEARCH_URL: is not set; set it to http://host:9200. Without it PostgreSQL answers searches: `rollcall query search.status --tenant …`",
            WRONG_USAGE,
        )
    async with reach.elasticsearch(settings.elasticsearch_url) as (client, version):
        try:
            yield _Servers(client, version, dsn, settings.search_index, settings.search_shards)
        except (Retry, indexes.Refused) as error:
            raise Failure(f"{error}; see whether `rollcall doctor` knows why", REJECTED) from None


@contextlib.asynccontextmanager
async def _database(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    from ops import reach
    from storage.postgres import WRITER, connect

    with reach.database():
        connection = await connect(dsn, WRITER, "rollcall search", timeout=5)
    try:
        yield connection
    finally:
        await connection.close()


async def _lag(dsn: str) -> float | None:
    from ops import reach
    from ops.settings import BusSettings, SettingsError, read
    from workers.lag import Lag

    try:
        client = await reach.bus(read(BusSettings).nats_url)
    except (SettingsError, reach.Unreachable):
        return None
    lag = Lag(dsn, lambda: client)
    try:
        return await lag.seconds()
    finally:
        await lag.close()
        await client.close()
