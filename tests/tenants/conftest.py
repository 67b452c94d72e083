"""The whole fleet, a client of it, and a victim: a contact of tenant a with everything that tenant b could name."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from contracts.client import Client
from storage.postgres import WRITER, connect
from tests.e2e.fleet import Running, up
from tests.helpers import seed
from tests.helpers.realm import Patient


@dataclass(frozen=True)
class Victim:
    """What tenant b knows of a contact of tenant a."""

    id: str
    external_id: str
    channel: str
    identifier: str
    event_id: str
    message_id: str
    merged_id: str
    job_id: str

    @property
    def names(self) -> list[dict[str, Any]]:
        """Every way to name it."""
        return [
            {"id": self.id},
            {"id": self.merged_id},
            {"external_id": self.external_id},
            {"channel": self.channel, "identifier": self.identifier},
        ]


@pytest.fixture(scope="session")
async def fleet() -> AsyncIterator[Running]:
    running = await up("--ephemeral")
    yield running
    await running.end()


@pytest.fixture(scope="session")
async def client(fleet: Running) -> AsyncIterator[Client]:
    async with Patient(fleet.line["nats_url"], source="test") as client:
        yield client


@pytest.fixture(scope="session")
async def writer(fleet: Running) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(fleet.line["postgres_dsn"], WRITER)
    yield connection
    await connection.close()


@pytest.fixture
def make(writer: asyncpg.Connection) -> Callable[[], Awaitable[Victim]]:
    return lambda: victim(writer)


async def victim(writer: asyncpg.Connection) -> Victim:
    """A fresh contact of tenant a: two identifiers, a tag, two timeline events, a sent message, one merged into it.

    And a job of the tenant.
    """
    token = uuid.uuid4().hex
    address = f"{token}@example.org"
    contact = await seed.contact(
        writer,
        "a",
        external_id=token,
        display_name=f"Victim {token}",
        email=address,
        source=token,
        attributes={"company": token},
        search_text=f"\n victim {token} \n {address} \n {token} \n",
        timeline_sequence=2,
    )
    await seed.identifier(writer, "a", contact, "email", address, is_primary=True)
    await seed.identifier(writer, "a", contact, "push", token, is_primary=True)
    await seed.tag(writer, "a", contact, token)
    shown = {"title": token, "type": token, "category": "pipeline", "session_id": token, "realtime": True}
    event = await seed.event(writer, "a", contact, 1, **shown)
    await seed.event(writer, "a", contact, 2, **shown)
    await seed.message_status(writer, "a", contact, "whatsapp", token, "read")
    merged = await seed.contact(writer, "a", merged_into=contact)
    job = uuid.uuid4()
    await seed.insert(
        writer, "search_rebuilds", id=job, tenant_id="a", status="done", created_at=datetime.now(UTC)
    )
    return Victim(str(contact), token, "email", address, str(event), token, str(merged), str(job))
