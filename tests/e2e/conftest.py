"""The whole fleet, as ``rollcall up`` starts it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from tests.e2e.fleet import up
from tests.model.build import Draft


class Caller:
    """Publishes and waits for the result; asks."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def send(self, draft: Draft) -> dict[str, Any]:
        """The result's data."""
        inbox = self.client.new_inbox()
        subscription = await self.client.subscribe(inbox, max_msgs=1)
        headers = {**draft.headers, "Rollcall-Reply-To": inbox}
        await self.client.jetstream().publish(draft.subject, draft.body, headers=headers)
        result = json.loads((await subscription.next_msg(timeout=60)).data)
        assert draft.id in (None, result["causationid"])
        return result["data"]

    async def query(self, name: str, tenant: str, **data: Any) -> dict[str, Any]:
        answer = await self.client.request(f"query.{name}.{tenant}", json.dumps(data).encode(), timeout=30)
        return json.loads(answer.data)


@pytest.fixture(scope="session")
async def caller() -> AsyncIterator[Caller]:
    """Of a fleet that every payload goes through."""
    fleet = await up("--ephemeral")
    client = await nats.connect(fleet.line["nats_url"])
    yield Caller(client)
    await asyncio.wait_for(client.close(), 30)
    await fleet.end()


@pytest.fixture
def tenant() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"
