"""Rebuilds of the search index, as a tenant may see them: its own in figures, that of all tenants as a fraction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from storage.reads.contacts import TENANT
from storage.reads.session import TenantReads
from storage.tables import search_rebuilds

NEWEST = 20  # jobs that are shown

_r = search_rebuilds.c
_NAMES = ("id", "status", "done", "total", "error", "created_at", "started_at", "updated_at", "finished_at")

_OWN = (
    select(*(_r[name] for name in _NAMES))
    .where(_r.tenant_id == TENANT)
    .order_by(_r.created_at.desc(), _r.id.desc())
    .limit(NEWEST)
)
_WHOLE = select(_r.status, _r.done, _r.total, _r.started_at).where(
    _r.tenant_id.is_(None), _r.status.in_(["waiting", "running"])
)


async def of_tenant(reads: TenantReads) -> list[dict[str, Any]]:
    """The tenant's jobs, newest first. ``rate``: contacts a second, null until there is one."""
    return [_job(dict(zip(_NAMES, row, strict=True))) for row in await reads.rows(_OWN)]


def _job(row: dict[str, Any]) -> dict[str, Any]:
    worked_until = row.pop("updated_at")
    seconds = (worked_until - row["started_at"]).total_seconds() if row["started_at"] else 0
    return {**row, "rate": round(row["done"] / seconds, 1) if seconds > 0 else None}


async def unfinished_whole(reads: TenantReads) -> dict[str, Any] | None:
    """The rebuild of all tenants that waits or runs. It counts other tenants' contacts too, so only a fraction is told."""
    rows = await reads.rows(_WHOLE)
    if not rows:
        return None
    row = rows[0]
    progress = round(row.done / row.total, 3) if row.total else None
    return {"status": row.status, "progress": progress, "started_at": row.started_at}
