"""A tenant of a test's own, whose timelines a queries worker is asked about."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from tests.helpers import seed
from tests.helpers.asker import Asker

WRITTEN = datetime.now(UTC) - timedelta(hours=1)


class Tenant:
    """A tenant of the test's own, and one contact of it."""

    def __init__(self, ask: Asker, writer: asyncpg.Connection, name: str) -> None:
        self._ask, self._writer, self.name = ask, writer, name
        self.contact = uuid.uuid4()
        self._sequences: dict[uuid.UUID, itertools.count[int]] = {}

    async def another(self, **columns: Any) -> uuid.UUID:
        return await seed.contact(self._writer, self.name, **columns)

    async def event(self, contact: uuid.UUID | None = None, **columns: Any) -> str:
        """An event, written one second after the one before; its id."""
        of = contact or self.contact
        sequence = next(self._sequences.setdefault(of, itertools.count(1)))
        written = {"created_at": WRITTEN + timedelta(seconds=sequence)}
        return str(await seed.event(self._writer, self.name, of, sequence, **{**written, **columns}))

    async def ask(self, name: str, **fields: Any) -> dict[str, Any]:
        answer = await self._ask(name, self.name, **fields)
        assert answer["success"], answer
        return answer

    async def ids(self, name: str, **fields: Any) -> list[str]:
        return [event["id"] for event in (await self.ask(name, **fields))["data"]]

    async def walk(self, name: str, **fields: Any) -> list[str]:
        """The ids of all pages."""
        walked: list[str] = []
        while True:
            answer = await self.ask(name, **fields)
            walked += [event["id"] for event in answer["data"]]
            if answer["meta"]["next_cursor"] is None:
                return walked
            fields["cursor"] = answer["meta"]["next_cursor"]

    async def faults(self, name: str, **fields: Any) -> list[str]:
        """The fields of a refused request."""
        error = await self._ask.error(name, self.name, **fields)
        assert error["code"] == "invalid"
        return [each["field"] for each in error["details"]["errors"]]
