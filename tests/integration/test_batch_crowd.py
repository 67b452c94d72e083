"""Many batches at once about the same few people: all finish, none deadlocks, and what comes of it does not depend on how."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import asyncpg
import pytest

from storage.errors import Restart
from storage.postgres import WRITER, connect
from tests.helpers.office import Office
from workers.engine.record import Record

PEOPLE = 6
WORKERS = 4


def traffic(office: Office, chooser: random.Random) -> list[Record]:
    """Messages and commands whose effects commute; a fifth of them come twice."""
    records: list[Record] = []
    for n in range(120):
        person = chooser.randrange(PEOPLE)
        phone = f"+491510000000{person}"
        if n % 3:
            data: dict[str, Any] = {
                "channel": chooser.choice(["sms", "whatsapp", "voice"]),
                "from": phone,
                "message_id": f"m{n}",
                "occurred_at": f"2026-11-20T10:{n // 60:02}:{n % 60:02}Z",
                "profile_name": f"Name {n:03}",
                "text": chooser.choice(["hello", "stop", "start"]),
            }
            if chooser.random() < 0.5:
                data["identifiers"] = [{"channel": "email", "identifier": f"p{person}@example.com"}]
            kind = "webhook.message"
        else:
            kind = "command.contact.upsert"
            data = {
                "external_id": f"e{person}",
                "phone": phone,
                "tags": [f"t{n % 5}"],
                "attributes": {f"k{n}": n},
            }
        record = office.record(f"{kind}.{office.tenant}.k", kind, data, {"id": f"{kind}-{n}"})
        records += [record, record] if chooser.random() < 0.2 else [record]
    chooser.shuffle(records)
    return records


def batches(records: list[Record], chooser: random.Random) -> list[list[Record]]:
    """The records in batches of 1 to 12, webhooks and commands apart as in the streams."""
    made: list[list[Record]] = []
    for stream in ("WEBHOOK", "COMMAND"):
        left = [record for record in records if record.stream == stream]
        while left:
            size = chooser.randint(1, 12)
            made.append(left[:size])
            left = left[size:]
    chooser.shuffle(made)
    return made


async def work(office: Office, connection: asyncpg.Connection, queue: list[list[Record]], told: dict) -> None:
    """Apply batches until none is left; events are kept under the moment at which their transaction could no longer wait."""
    own = Office(connection, office.tenant, reads=office.reads)
    while queue:
        batch = queue.pop()
        while True:
            transaction = connection.transaction()
            await transaction.start()
            try:
                _, events = await own.apply_open(batch)
                order = await connection.fetchval("select nextval('crowd')")
            except Restart:
                await transaction.rollback()
                continue
            told[order] = events
            await transaction.commit()
            break


async def state(office: Office) -> dict[str, Any]:
    """What must not depend on the order, by external id or phone: ids, versions and what follows from them left out."""
    people: dict[str, Any] = {}
    events = await office.rows("contact_events")
    consents = await office.rows("contact_consents")
    for row in await office.rows("contacts"):
        document = await office.get(row["id"])
        identifiers = sorted(
            (i["channel"], i["identifier"], i["is_primary"]) for i in document["identifiers"]
        )
        own = [e for e in events if e["contact_id"] == row["id"]]
        assert sorted(e["sequence"] for e in own) == list(range(1, len(own) + 1))
        people[identifiers[-1][1]] = {
            "identifiers": identifiers,
            **{name: document[name] for name in ("tags", "attributes", "external_id", "last_contact_at")},
            "names": sorted(str(i["metadata"].get("profile_name")) for i in document["identifiers"]),
            "types": Counter(e["type"] for e in own if e["category"] == "general"),
            "consents": sorted(
                (c["channel"], c["granted"], c["granted_at"], c["revoked_at"])
                for c in consents
                if c["contact_id"] == row["id"]
            ),
        }
    return people


@pytest.mark.parametrize("seed", range(6))
async def test_concurrent_batches_end_as_they_would_one_by_one(
    database: str, office: Office, elsewhere: Office, seed: int
):
    owner = await asyncpg.connect(database)
    await owner.execute("create sequence if not exists crowd")
    await owner.execute("grant usage on sequence crowd to rollcall_writer")
    await owner.close()
    for one in traffic(elsewhere, random.Random(seed)):
        await elsewhere.batch([one])
    queue = batches(traffic(office, random.Random(seed)), random.Random(seed + 1))
    connections = [await connect(database, WRITER) for _ in range(WORKERS)]
    told: dict[int, list[dict[str, Any]]] = {}
    await asyncio.gather(*(work(office, connection, queue, told) for connection in connections))
    for connection in connections:
        await connection.close()
    office.events = [event for order in sorted(told) for event in told[order]]
    assert await state(office) == await state(elsewhere)
