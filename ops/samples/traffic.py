"""Several hundred messages of two tenants: people who write, statuses, commands, and what goes wrong in real life."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts import subjects
from contracts.envelope import FORM, Envelope, dump
from ops.samples import providers

TENANTS = ("acme", "globex")
MESSAGES = 900  # moments that the samples are spread over
SEED = 20

FIRST_NAMES = [
    "Ada",
    "Ben",
    "Chloé",
    "Deniz",
    "Elif",
    "Finn",
    "Grace",
    "Hugo",
    "Inés",
    "Jonas",
    "Kofi",
    "Lena",
    "Mira",
    "Noah",
    "Olga",
    "Paulo",
    "Quinn",
    "Rosa",
    "Sam",
    "Tara",
]
LAST_NAMES = [
    "Adler",
    "Brandt",
    "Costa",
    "Duarte",
    "Engel",
    "Fischer",
    "García",
    "Haddad",
    "Ito",
    "Jansen",
    "Kaya",
    "Lindgren",
    "Moreau",
    "Novak",
    "Okafor",
]
TEXTS = (
    "Hi, is this still available?",
    "Does it come in another colour?",
    "When will my order arrive?",
    "Thanks, that worked.",
    "Can I change the address?",
    "Please call me back tomorrow.",
    "¿Tienen la talla 42?",
    "Perfect 👍",
)

# The person whose timeline the demo shows: known by a command, then heard from on two channels.
SHOWN = {"channel": "sms", "identifier": "+4915112300000"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One message to publish: the bytes and headers under a subject."""

    subject: str
    body: bytes
    note: str  # "" for what is ordinary


@dataclass(frozen=True, slots=True)
class _Person:
    tenant: str
    name: str
    phone: str  # E.164

    @property
    def wa_id(self) -> str:
        return self.phone.removeprefix("+")

    @property
    def reference(self) -> dict[str, str]:
        return {"channel": "sms", "identifier": self.phone}


class _Maker:
    """Draws from a seeded generator, so that every run sees the same traffic; only the times move along."""

    def __init__(self) -> None:
        self.random = random.Random(SEED)
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.count = 0
        self.people = [
            _Person(
                TENANTS[n % len(TENANTS)],
                f"{self.random.choice(FIRST_NAMES)} {self.random.choice(LAST_NAMES)}",
                f"+49151123{n:05d}",
            )
            for n in range(80)
        ]

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def time(self) -> datetime:
        """Later with every message, ending now."""
        self.count += 1
        return self.now - timedelta(minutes=3) * max(0, MESSAGES - self.count)

    def webhook(self, provider: str, person: _Person, data: Any, note: str = "") -> Sample:
        envelope = Envelope(
            id=self.uuid(),
            source=f"samples/{provider}",
            type=f"webhook.{provider}",
            time=self.time(),
            tenantid=person.tenant,
            datacontenttype=FORM if isinstance(data, str) else "application/json",
            data=data,
        )
        return Sample(subjects.webhook(provider, person.tenant, person.wa_id), dump(envelope), note)

    def command(self, type: str, tenant: str, data: dict[str, Any], key: str, note: str = "") -> Sample:  # noqa: A002
        envelope = Envelope(
            id=self.uuid(),
            source="samples/crm",
            type=f"command.{type}",
            time=self.time(),
            tenantid=tenant,
            actor="user:42",
            data=data,
        )
        return Sample(subjects.command(type, tenant, key), dump(envelope), note)

    def create(self, person: _Person, note: str = "") -> Sample:
        first, last = person.name.split(" ", 1)
        data = {
            "first_name": first,
            "last_name": last,
            "phone": person.phone,
            "email": f"{first}.{last}.{person.wa_id[-3:]}@example.com".lower(),
            "source": "crm",
            "tags": [self.random.choice(("customer", "lead", "newsletter"))],
            "attributes": {"company": self.random.choice(("Initech", "Hooli", "Umbrella"))},
        }
        return self.command("contact.create", person.tenant, data, subjects.key_for(person.reference), note)

    def change(self, person: _Person) -> Sample:
        key = subjects.key_for(person.reference)
        choice = self.random.randrange(3)
        if choice == 0:
            data: dict[str, Any] = {"contact": person.reference, "set": {"attributes": {"city": "Berlin"}}}
            return self.command("contact.update", person.tenant, data, key)
        if choice == 1:
            data = {"contact": person.reference, "set": {"tags": ["customer", "vip"]}}
            return self.command("contact.update", person.tenant, data, key)
        data = {"contact": person.reference, "type": "note_added", "category": "note", "title": "Called back"}
        return self.command("timeline.record", person.tenant, data, key)

    def talk(self, person: _Person) -> Sample:
        """What people and providers send of their own accord."""
        text, choice = self.random.choice(TEXTS), self.random.random()
        wamid, sid = f"wamid.{self.uuid()}", f"SM{uuid.UUID(self.uuid()).hex}"
        if choice < 0.5:
            body = providers.whatsapp_message(person.wa_id, person.name, wamid, text, self.time())
            return self.webhook("whatsapp", person, body)
        if choice < 0.7:
            status = self.random.choice(("sent", "delivered", "read"))
            body = providers.whatsapp_status(person.wa_id, wamid, status, self.time())
            return self.webhook("whatsapp", person, body)
        if choice < 0.9:
            fields = providers.twilio_message(person.phone, sid, text)
        else:
            fields = providers.twilio_status(person.phone, sid, self.random.choice(("sent", "delivered")))
        return self.webhook("twilio", person, providers.form(fields) if choice < 0.8 else fields)


def traffic() -> list[Sample]:
    """The whole of it, in the order of publishing."""
    return list(_traffic(_Maker()))


def _traffic(make: _Maker) -> Iterator[Sample]:
    known = make.people[::4]
    for person in known:
        yield make.create(person)
    shown, writer = make.people[0], make.people[1]
    assert shown.reference == SHOWN
    yield make.create(shown, "a phone number that is taken: rejected")
    sent: list[Sample] = []
    while make.count < MESSAGES - 60:
        person = shown if make.random.random() < 0.01 else make.random.choice(make.people)
        sample = make.talk(person)
        sent.append(sample)
        yield sample
        if make.random.random() < 0.05:
            yield replace(make.random.choice(sent), note="a producer's retry: the same envelope again")
    # The provider's own retry: a new envelope around an item that was there before.
    body = providers.whatsapp_message(writer.wa_id, writer.name, "wamid.RETRIED", "Hello?", make.now)
    for note in ("", "a provider's retry: the same item in a new envelope"):
        yield make.webhook("whatsapp", writer, body, note)
    for person in known:
        yield make.change(person)
    yield make.command(
        "contact.update",
        shown.tenant,
        {"contact": shown.reference, "set": {"status": "inactive", "last_name": "Lovelace"}},
        subjects.key_for(shown.reference),
    )
    yield make.webhook(
        "twilio", shown, providers.twilio_message(shown.phone, f"SM{'7' * 32}", "STOP"), "an opt-out"
    )
    whole = make.talk(writer)
    yield replace(whole, body=whole.body[:-20], note="cut off: not JSON")
    poison = providers.whatsapp_message(writer.wa_id, writer.name, "wamid.NUL", "before\x00after", make.now)
    yield make.webhook("whatsapp", writer, poison, "a NUL in its text: no database can keep it")
    yield make.webhook("whatsapp", writer, {"entry": "none"}, "not the provider's shape")
    for person in make.people[:30]:
        yield make.talk(person)
