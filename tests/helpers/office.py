"""The write side and what can be read of it, on a real database: for tests that send one message after another."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from contracts.registry import EVENT_MODELS
from storage.reads import contacts
from storage.reads.session import Reads
from tests.helpers.applier import Applier
from tests.helpers.replica import Replica, loud
from workers.engine.record import Outcome
from workers.fold.equality import same_json


@dataclass
class Office(Applier):
    """Each test has a tenant of its own. ``check`` holds everything that was said against what is there."""

    reads: Reads = field(kw_only=True)

    async def ok(self, name: str, data: Mapping[str, Any], **attributes: Any) -> Outcome:
        """A command that is applied."""
        outcome = await self.send(name, data, **attributes)
        assert outcome.status == "applied", outcome
        return outcome

    async def quietly(self, name: str, data: Mapping[str, Any], **attributes: Any) -> None:
        """A command that is applied and changes nothing: the same version, and no event."""
        before = len(self.events)
        outcome = await self.ok(name, data, **attributes)
        assert self.events[before:] == []
        assert outcome.version == (await self.get(outcome.contact_id))["version"]

    async def refused(self, name: str, data: Mapping[str, Any], **attributes: Any) -> tuple[str, Any]:
        """Code and details of a command that is rejected, which contact.rejected says as well, and nothing else happens."""
        before = len(self.events)
        outcome = await self.send(name, data, **attributes)
        assert outcome.status == "rejected", outcome
        (event,) = self.events[before:]
        assert event["type"] == "contact.rejected"
        told = (event["data"]["code"], event["data"]["details"], event["data"]["message"])
        assert told == (outcome.code, _plain(outcome.details), outcome.message)
        about = str(outcome.contact_id) if outcome.contact_id else "-"
        assert event["on"] == f"contact.rejected.{self.tenant}.{about}"
        return outcome.code, outcome.details

    async def new(self, **fields: Any) -> uuid.UUID:
        """A contact made by contact.create."""
        outcome = await self.ok("contact.create", fields)
        assert outcome.created
        assert outcome.contact_id
        return outcome.contact_id

    async def receive(self, provider: str, body: Any, **attributes: Any) -> list[dict[str, Any]]:
        """A webhook that is applied; the answers of its items."""
        outcome = await self.webhook(provider, body, **attributes)
        assert outcome.status == "applied", outcome
        assert outcome.items is not None
        return outcome.items

    async def message(self, sender: str, **fields: Any) -> dict[str, Any]:
        """A neutral message that is applied, by default on sms; the answer of its item."""
        (item,) = await self.receive("message", {"channel": "sms", "from": sender, **fields})
        return item

    async def get(self, contact_id: uuid.UUID | str | None) -> dict[str, Any]:
        """What contact.get answers, deleted ones included, in JSON's types."""
        async with self.reads.of(self.tenant) as reads:
            named = contacts.ById(uuid.UUID(str(contact_id)))
            found = await contacts.find(reads, named, include_deleted=True)
        assert found is not None
        document: dict[str, Any] = _plain(found.document)
        return document

    async def rows(self, table: str, order: str = "1") -> list[dict[str, Any]]:
        """The tenant's rows of a table."""
        rows = await self.connection.fetch(
            f"select * from {table} where tenant_id = $1 order by {order}", self.tenant
        )
        return [dict(row) for row in rows]

    async def timeline_of(self, contact_id: uuid.UUID | str) -> list[str]:
        """Types of the contact's timeline events, in order of their sequence."""
        rows = await self.rows("contact_events", "contact_id, sequence")
        return [row["type"] for row in rows if str(row["contact_id"]) == str(contact_id)]

    async def check(self) -> None:
        """The events make the documents that contact.get answers, and the timeline's rows; identifiers are in order."""
        replica = Replica()
        replica.take(self.events)
        assert {str(row["id"]) for row in await self.rows("contacts", "id")} == set(replica.documents)
        for contact_id, told in replica.documents.items():
            # A number is told as it was given, and answered as jsonb spells it.
            assert same_json(loud(told), loud(await self.get(contact_id))), (told, await self.get(contact_id))
        timelines: dict[str, list[Any]] = {contact_id: [] for contact_id in replica.timelines}
        for row in await self.rows("contact_events", "contact_id, sequence"):
            row["payload"], row["metadata"] = orjson.loads(row["payload"]), orjson.loads(row["metadata"])
            del row["tenant_id"]
            timelines[str(row["contact_id"])].append(_plain(row))
        assert timelines == {contact_id: replica.rows(contact_id) for contact_id in replica.timelines}
        for event in self.events:
            EVENT_MODELS[event["type"]].model_validate(event["data"])
        await self._check_identifiers()

    async def _check_identifiers(self) -> None:
        owners: dict[Any, set[Any]] = {}
        slots: dict[Any, list[int]] = {}
        primaries: set[Any] = set()
        for row in await self.rows("channel_identifiers", "kind, identifier, scope, slot"):
            key = (row["kind"], row["identifier"], row["scope"])
            owners.setdefault(key, set()).add(row["contact_id"])
            slots.setdefault(key, []).append(row["slot"])
            if row["is_primary"]:
                primary = (row["contact_id"], row["channel"])
                assert primary not in primaries, "two primaries on a channel"
                primaries.add(primary)
        assert all(len(who) == 1 for who in owners.values()), "a key has two owners"
        assert all(taken[0] == 0 for taken in slots.values()), "a key without slot 0"


def _plain(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value, option=orjson.OPT_UTC_Z, default=str))
