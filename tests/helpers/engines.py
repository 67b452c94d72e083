"""Who answers a search: a queries worker that asks an Elasticsearch behind a door."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.eventually import eventually
from tests.helpers.applier import Applier
from tests.helpers.asker import Asker
from tests.helpers.elastic import Door, Index


@dataclass
class Stage:
    """A worker that asks an Elasticsearch behind a door, about one tenant."""

    ask: Asker
    door: Door
    index: Index
    applier: Applier

    async def search(self, **fields: Any) -> dict[str, Any]:
        answer = await self.ask("contact.search", self.applier.tenant, **{"q": "ann", **fields})
        assert answer["success"], answer
        return answer

    async def engine(self, **fields: Any) -> str:
        return (await self.search(**fields))["meta"]["engine"]

    async def answers(self, engine: str) -> None:
        async def does() -> bool:
            assert await self.engine() == engine, self.ask.problems
            return True

        await eventually(does)

    @property
    def asked(self) -> int:
        return self.door.asked(self.applier.tenant)

    async def looked(self) -> None:
        """Until the worker has looked again whether Elasticsearch can be asked."""
        before = self.door.looks
        await eventually(lambda: self.door.looks >= before + 2)


Begin = Callable[..., Awaitable[Stage]]


def names(answer: dict[str, Any]) -> list[str]:
    return [hit["external_id"] for hit in answer["data"]]


EVERYBODY = ["three", "two", "one"]
