"""Messages sent to contacts: how far their delivery got."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, select

from storage.reads.contacts import TENANT
from storage.reads.session import TenantReads
from storage.tables import message_statuses

_STATUS = select(message_statuses.c.status, message_statuses.c.at).where(
    message_statuses.c.tenant_id == TENANT,
    message_statuses.c.channel == bindparam("channel", type_=message_statuses.c.channel.type),
    message_statuses.c.message_id == bindparam("message_id", type_=message_statuses.c.message_id.type),
)


async def status(reads: TenantReads, channel: str, message_id: str) -> dict[str, Any] | None:
    """The highest delivery status of a sent message, and when it was reached."""
    rows = await reads.rows(_STATUS, channel=channel, message_id=message_id)
    return {"status": rows[0].status, "at": rows[0].at} if rows else None
