"""The input that every run gets: raw WhatsApp bodies about a set of contacts, most of them known. Seeded."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import asyncpg
import orjson
from nats.aio.client import Client

from contracts import subjects
from storage.ids import uuid7
from storage.rows import Contact, Identifier, IdentifierKey
from storage.search.text import search_text

TENANTS = tuple(f"tenant{n}" for n in range(10))
TEXT = (
    "Hello, I would like to know whether the blue one is still available in size M, and when it could be delivered to "
    "Berlin? Thanks a lot in advance, kind regards."
)
BATCH = 1000  # messages of one atomic publish
STATUSES = 0.32  # of the messages about a contact that was met before
SOURCE = "bench"  # of contacts that were there before


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a phone: the wa_id, in digits."""

    tenant: str
    number: str

    @property
    def name(self) -> str:
        return f"Sheena Nelson {self.number[-6:]}"


def person(n: int) -> Person:
    return Person(TENANTS[n % len(TENANTS)], f"49151{n:08d}")


@dataclass(slots=True)
class Workload:
    """Messages in publishing order, and what is in them."""

    known: int  # contacts that exist before
    messages: list[tuple[str, bytes]] = field(default_factory=list)
    texts: int = 0
    statuses: int = 0
    repeats: int = 0
    new_contacts: int = 0

    @property
    def events(self) -> int:
        """How many events must leave: one an item, and two more for a contact that is made."""
        return self.texts + self.statuses + 2 * self.new_contacts

    def describe(self, contacts: int) -> dict[str, object]:
        return {
            "messages": len(self.messages),
            "contacts": contacts,
            "known_contacts": self.known,
            "new_contacts": self.new_contacts,
            "texts": self.texts,
            "statuses": self.statuses,
            "repeats": self.repeats,
            "tenants": len(TENANTS),
            "mean_body_bytes": sum(len(body) for _, body in self.messages) // len(self.messages),
        }


def generate(messages: int, contacts: int, *, known: float = 0.7, seed: int = 7) -> Workload:
    """About 30 % statuses, 3 % repeats (the same item in a new envelope), the contacts drawn uniformly.

    A contact's first message is a text, as the naive baseline does not take up a name that comes later.
    """
    chance = random.Random(seed)
    workload = Workload(known=round(contacts * known))
    met: set[int] = set(range(workload.known))
    changes: list[tuple[Person, dict[str, object]]] = []
    for n in range(messages):
        if changes and chance.random() < 0.03:
            who, change = changes[chance.randrange(len(changes))]
            workload.repeats += 1
        else:
            index = chance.randrange(contacts)
            who = person(index)
            if index in met and chance.random() < STATUSES:
                change = status(who, n, chance.choice(("delivered", "read")))
                workload.statuses += 1
            else:
                change = text(who, n)
                workload.texts += 1
            if index not in met:
                met.add(index)
                workload.new_contacts += 1
            changes.append((who, change))
        workload.messages.append((subject(who), body(who, f"{seed}-{n}", change)))
    return workload


def subject(who: Person) -> str:
    return subjects.webhook("whatsapp", who.tenant, who.number)


def text(who: Person, n: int) -> dict[str, object]:
    """What Meta posts of a text message."""
    return {
        "contacts": [{"profile": {"name": who.name}, "wa_id": who.number}],
        "messages": [
            {
                "from": who.number,
                "id": f"wamid.HBgMNDkxNTE{n:012d}FQIAEhgUM0E",
                "timestamp": str(1_795_244_400 + n),
                "type": "text",
                "text": {"body": TEXT},
            }
        ],
    }


def status(who: Person, n: int, reached: str) -> dict[str, object]:
    """What Meta posts of a delivery status."""
    return {
        "contacts": [{"wa_id": who.number}],
        "statuses": [
            {
                "id": f"wamid.OUT{n:012d}",
                "status": reached,
                "timestamp": str(1_795_244_400 + n),
                "recipient_id": who.number,
            }
        ],
    }


def body(who: Person, message_id: str, change: dict[str, object]) -> bytes:
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": "106540352242922"},
        **change,
    }
    entry = {"id": "102290129340398", "changes": [{"value": value, "field": "messages"}]}
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": message_id,
            "source": "bench",
            "type": "webhook.whatsapp",
            "time": "2026-11-21T07:00:00Z",
            "datacontenttype": "application/json",
            "tenantid": who.tenant,
            "data": {"object": "whatsapp_business_account", "entry": [entry]},
        }
    )


async def publish(nats: Client, messages: Sequence[tuple[str, bytes]]) -> None:
    """Put the messages on their stream, in atomic batches."""
    for start in range(0, len(messages), BATCH):
        part = messages[start : start + BATCH]
        batch = uuid.uuid4().hex
        for n, (on, payload) in enumerate(part, 1):
            headers = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(n)}
            if n < len(part):
                await nats.publish(on, payload, headers=headers)
            else:
                answer = await nats.request(
                    on, payload, headers={**headers, "Nats-Batch-Commit": "1"}, timeout=30
                )
                if b'"error"' in answer.data:
                    raise RuntimeError(answer.data.decode())


def _search_text(who: Person) -> str:
    key = IdentifierKey("phone", "+" + who.number)
    identifier = Identifier(uuid7(), key, "whatsapp", who.number)
    return search_text(
        Contact(who.tenant, uuid7(), display_name=who.name, identifiers={(key, "whatsapp"): identifier})
    )


async def preload(connection: asyncpg.Connection, known: int) -> None:
    """Contacts as a first message would have left them."""
    now = datetime.now(UTC)
    for start in range(0, known, 100_000):
        people = [(person(n), uuid7()) for n in range(start, min(known, start + 100_000))]
        await connection.copy_records_to_table(
            "contacts",
            columns=(
                "tenant_id",
                "id",
                "display_name",
                "source",
                "created_at",
                "updated_at",
                "version",
                "timeline_sequence",
                "search_text",
            ),
            records=[
                (who.tenant, contact, who.name, SOURCE, now, now, 1, 0, _search_text(who))
                for who, contact in people
            ],
        )
        metadata = {who: orjson.dumps({"profile_name": who.name}).decode() for who, _ in people}
        await connection.copy_records_to_table(
            "channel_identifiers",
            columns=(
                "tenant_id",
                "kind",
                "identifier",
                "id",
                "contact_id",
                "channel",
                "raw",
                "is_primary",
                "metadata",
                "created_at",
            ),
            records=[
                (
                    who.tenant,
                    "phone",
                    "+" + who.number,
                    uuid7(),
                    contact,
                    "whatsapp",
                    who.number,
                    True,
                    metadata[who],
                    now,
                )
                for who, contact in people
            ],
        )
    await connection.execute("vacuum analyze")
    await connection.execute("checkpoint")
