"""A large tenant for the search: contacts with names, numbers, addresses, companies and attributes. Seeded."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import asyncpg
import orjson

from storage.ids import uuid7
from storage.rows import Contact, Identifier, IdentifierKey
from storage.search.text import search_text

TENANT = "large"
SOURCE = "bench"
CHUNK = 20_000  # contacts in memory at a time

_FIRST = [
    "Anna",
    "Maria",
    "Jürgen",
    "Thomas",
    "Sabine",
    "Peter",
    "Claudia",
    "Wolfgang",
    "Ursula",
    "Michael",
    "Petra",
    "Stefan",
    "Monika",
    "Andreas",
    "Karin",
    "Jörg",
    "Heike",
    "Uwe",
    "Birgit",
    "Frank",
    "Sophie",
    "Lukas",
    "Emma",
    "Felix",
    "Mia",
    "Jonas",
    "Hannah",
    "Leon",
    "Lea",
    "Paul",
    "José",
    "Inés",
    "Chloé",
    "Zoë",
    "Søren",
    "Łukasz",
    "Aylin",
    "Mehmet",
    "Fatma",
    "Yusuf",
    "Иван",
    "Ольга",
    "Дмитрий",
    "Наталья",
    "محمد",
    "فاطمة",
    "伟",
    "芳",
    "Siobhán",
    "Patrick",
]
_LAST_BEGIN = [
    "Alt",
    "Berg",
    "Birk",
    "Brand",
    "Busch",
    "Eich",
    "Feld",
    "Fuchs",
    "Gold",
    "Hart",
    "Hoff",
    "Kirch",
    "Klein",
    "Koch",
    "Lang",
    "Linden",
    "Mohr",
    "Neu",
    "Ober",
    "Rosen",
    "Roth",
    "Schmid",
    "Stein",
    "Wald",
    "Weiß",
    "Winter",
    "Wolf",
    "Zimmer",
]
_LAST_END = [
    "mann",
    "er",
    "bauer",
    "stein",
    "hofer",
    "müller",
    "meier",
    "schmidt",
    "kamp",
    "beck",
    "hagen",
    "dorf",
    "berger",
    "feld",
    "brink",
    "hauser",
    "ling",
    "wald",
    "thal",
    "rieder",
]
_COMPANY = [
    "Acme",
    "Nordlicht",
    "Südwerk",
    "Alpha",
    "Blau",
    "Rheintal",
    "Hansa",
    "Isar",
    "Elbe",
    "Merkur",
    "Falke",
    "Adler",
    "Orion",
    "Vega",
    "Delta",
    "Lumen",
    "Kupfer",
    "Granit",
    "Linde",
    "Möwe",
]
_MAIL = ("gmail.com", "web.de", "gmx.net", "outlook.com", "acme.com", "example.org")
_PLANS = ("free", "gold", "silver")


def last_name(n: int) -> str:
    """One of about 56,000 names, some much more frequent than others."""
    begin, end = _LAST_BEGIN[n % len(_LAST_BEGIN)], _LAST_END[n // len(_LAST_BEGIN) % len(_LAST_END)]
    extra = n // (len(_LAST_BEGIN) * len(_LAST_END)) % 100
    return (
        begin + end
        if extra < 50
        else f"{begin}{end}-{_LAST_BEGIN[extra % len(_LAST_BEGIN)]}{_LAST_END[extra % 20]}"
    )


def contacts(count: int, seed: int = 5) -> Iterator[Contact]:
    """Contacts of TENANT, the oldest first."""
    chance = random.Random(seed)
    began = datetime(2026, 1, 1, tzinfo=UTC)
    for n in range(count):
        first = chance.choice(_FIRST)
        last = last_name(int(56_000 * chance.random() ** 3))
        number, domain = f"+4915{n * 982_451_653 % 10**9:09d}", chance.choice(_MAIL)  # no number twice
        address = f"{chance.choice('abcdefghijklmnopqrstuvwxyz')}.{last.lower()}{n}@{domain}"
        at = began + timedelta(seconds=20 * n)
        contact = Contact(
            TENANT,
            uuid7(),
            first_name=first,
            last_name=last,
            display_name=f"{first} {last}",
            email=address,
            phone=number,
            source=SOURCE,
            attributes={
                "company": f"{chance.choice(_COMPANY)} {chance.choice(('GmbH', 'AG', 'KG'))}",
                "plan": chance.choice(_PLANS),
                "seats": chance.randrange(100),
            },
            created_at=at,
            updated_at=at,
            version=1,
        )
        for channel, kind, value in (("sms", "phone", number), ("email", "email", address)):
            key = IdentifierKey(kind, value)
            contact.identifiers[key, channel] = Identifier(
                uuid7(), key, channel, value, is_primary=True, created_at=at
            )
        yield contact


async def fill(connection: asyncpg.Connection, count: int) -> None:
    """Write so many contacts as commands would have left them."""
    chunk: list[Contact] = []
    for contact in contacts(count):
        chunk.append(contact)
        if len(chunk) == CHUNK:
            await _copy(connection, chunk)
            chunk = []
    await _copy(connection, chunk)
    await connection.execute("vacuum analyze contacts")
    await connection.execute("vacuum analyze channel_identifiers")
    await connection.execute("checkpoint")


async def _copy(connection: asyncpg.Connection, chunk: list[Contact]) -> None:
    columns = (
        "tenant_id",
        "id",
        "first_name",
        "last_name",
        "display_name",
        "email",
        "phone",
        "source",
        "attributes",
        "created_at",
        "updated_at",
        "version",
        "timeline_sequence",
        "search_text",
    )
    await connection.copy_records_to_table(
        "contacts",
        columns=columns,
        records=[
            (
                c.tenant_id,
                c.id,
                c.first_name,
                c.last_name,
                c.display_name,
                c.email,
                c.phone,
                c.source,
                orjson.dumps(c.attributes).decode(),
                c.created_at,
                c.updated_at,
                c.version,
                0,
                search_text(c),
            )
            for c in chunk
        ],
    )
    names = (
        "tenant_id",
        "kind",
        "identifier",
        "id",
        "contact_id",
        "channel",
        "raw",
        "is_primary",
        "created_at",
    )
    await connection.copy_records_to_table(
        "channel_identifiers",
        columns=names,
        records=[
            (
                c.tenant_id,
                i.key.kind,
                i.key.identifier,
                i.id,
                c.id,
                i.channel,
                i.raw,
                i.is_primary,
                i.created_at,
            )
            for c in chunk
            for i in c.identifiers.values()
        ],
    )


def queries(count: int, drawn: int) -> dict[str, list[str]]:
    """So many distinct searches of each of five kinds, drawn from the first ``drawn`` contacts."""
    chance = random.Random(6)
    people = list(contacts(drawn))
    made: dict[str, dict[str, None]] = {
        kind: {}
        for kind in ("full name", "one name", "piece of a number", "beginning of an address", "typing error")
    }
    while any(len(found) < count for found in made.values()):
        contact = chance.choice(people)
        last = contact.last_name or ""
        place = chance.randrange(1, max(2, len(last) - 1))
        for kind, search in (
            ("full name", contact.display_name),
            ("one name", chance.choice((last, last[: chance.randrange(4, 9)]))),
            ("piece of a number", (contact.phone or "")[chance.randrange(4) : chance.randrange(9, 13)]),
            ("beginning of an address", (contact.email or "")[: chance.randrange(5, 14)]),
            ("typing error", f"{contact.first_name} {last[:place]}{last[place + 1 :]}"),
        ):
            if search and len(made[kind]) < count:
                made[kind][search] = None
    return {kind: list(found) for kind, found in made.items()}
