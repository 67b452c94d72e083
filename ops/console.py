"""The address by which whoever starts a fleet comes into its console: a one-time ticket, straight into the database."""

from __future__ import annotations

import secrets
from typing import Final

from contracts.vocabulary import Role
from ops.settings import TokenSettings
from storage import tickets
from storage.postgres import WRITER, connect
from workers.realtime.tokens import claims_of

TICKET_SECONDS: Final = 3_600  # until somebody comes to open it
SESSION_SECONDS: Final = 8 * 3_600


async def address(http: str, dsn: str, settings: TokenSettings, tenant: str) -> str:
    """``http://host:port/#ticket=…``: whoever opens it first is an agent of the tenant for eight hours.

    ``http`` is a realtime worker's. Raises what asyncpg raises.
    """
    claims = claims_of(settings, tenant=tenant, role=Role.AGENT, seconds=SESSION_SECONDS, sub="user:console")
    ticket = secrets.token_urlsafe(32)
    connection = await connect(dsn, WRITER, "rollcall up")
    try:
        await tickets.issue(connection, ticket, claims.model_dump(mode="json"), TICKET_SECONDS)
    finally:
        await connection.close()
    return f"{http}/#ticket={ticket}"
