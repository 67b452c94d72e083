"""Seeded traffic whose outcome does not depend on how keys interleave.

Each person belongs to one key of one stream, but for the "shared" ones: they are made first (``prologue``), and what both
streams do to them then commutes but for its order per key.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.subjects import key_for
from tests.faults import notices
from tests.model.build import Draft, command, neutral, wa_status, wa_text, whatsapp

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
STATUSES = ("sent", "delivered", "read")


class Traffic:
    """Messages of one tenant. ``prologue`` must have been applied before ``main`` is published.

    It records ``notices``, timeline events by their titles, which ``main`` marks and deletes once ``know`` said their ids.
    """

    def __init__(self, tenant: str, seed: int, people: int = 12, steps: int = 6) -> None:
        self.tenant = tenant
        self._random = random.Random(f"{tenant}:{seed}")
        self._moment = START
        self._serial = 0
        self._number = 491_510_000_000 + 100_000 * self._random.randrange(900)
        self.prologue: list[Draft] = []
        self.notices: list[str] = []
        lines: list[list[Draft]] = []
        for n in range(people):
            kinds = (
                self._texter,
                self._chatter,
                self._commanded,
                self._shared,
                self._household,
                self._notified,
            )
            lines += kinds[n % len(kinds)](steps)
        self.main = self._interleave([self._repeat(line) for line in lines if line])

    def know(self, ids: Mapping[str, str]) -> None:
        """Take the ids of notices, by title: what names a notice in ``main`` has its id from now on."""
        self.main = [replace(draft, body=notices.with_ids(draft.body, ids)) for draft in self.main]

    def _phone(self) -> str:
        self._number += 1
        return f"+{self._number}"

    def _id(self, prefix: str) -> str:
        self._serial += 1
        return f"{prefix}-{self.tenant}-{self._serial}"

    def _now(self) -> datetime:
        self._moment += timedelta(seconds=self._random.randrange(1, 90))
        return self._moment

    def _texter(self, steps: int) -> list[list[Draft]]:
        """Neutral webhooks of one sender; one item comes again in a new envelope; once a further identifier."""
        phone, line = self._phone(), []
        channel = self._random.choice(["sms", "whatsapp", "telegram"])
        sender = phone if channel != "telegram" else self._id("tg")
        key = key_for({"channel": channel, "identifier": sender})
        for step in range(steps):
            at = self._now()
            fields: dict[str, Any] = {
                "message_id": self._id("m"),
                "text": f"text {step}",
                "occurred_at": at.isoformat(),
                "profile_name": f"{sender[-4:]} the {'first' if step < steps // 2 else 'second'}",
            }
            if step == 2:
                mail = f"{self._id('mail')}@example.com".lower()
                fields["identifiers"] = [{"channel": "email", "identifier": mail}]
            line.append(self._neutral(key, sender, at, channel=channel, **fields))
            if self._random.random() < 0.2:
                line.append(self._neutral(key, sender, self._now(), channel=channel, **fields))
        return [line]

    def _neutral(self, key: str, sender: str, at: datetime, **fields: Any) -> Draft:
        return neutral(self.tenant, key, sender, envelope_time=at.isoformat(), **fields)

    def _chatter(self, steps: int) -> list[list[Draft]]:
        """Raw WhatsApp bodies of one person: texts, and statuses of what was answered, in disorder."""
        wa_id = self._phone()[1:]
        key, line = key_for({"channel": "whatsapp", "identifier": wa_id}), []
        for step in range(steps):
            at = int(self._now().timestamp())
            if step % 3 == 2:
                sent = self._id("wamid")
                orders = list(STATUSES)
                self._random.shuffle(orders)
                statuses = [wa_status(wa_id, sent, at + n, status) for n, status in enumerate(orders)]
                line += [whatsapp(self.tenant, key, statuses=[status]) for status in statuses]
            else:
                text = wa_text(wa_id, self._id("wamid"), at, f"hello {step}")
                line.append(whatsapp(self.tenant, key, [text], names={wa_id: f"Chat {wa_id[-4:]}"}))
        return [line]

    def _household(self, steps: int) -> list[list[Draft]]:
        """Bodies that speak of several people at once, keyed by the business's account."""
        members = [self._phone()[1:] for _ in range(3)]
        key, line = self._id("account"), []
        for step in range(steps):
            at = int(self._now().timestamp())
            some = self._random.sample(members, 2)
            texts = [wa_text(who, self._id("wamid"), at - n, f"batch {step}") for n, who in enumerate(some)]
            statuses = [wa_status(self._random.choice(members), self._id("wamid"), at, "delivered")]
            line.append(whatsapp(self.tenant, key, texts, statuses, {who: f"M {who[-4:]}" for who in some}))
        return [line]

    def _commanded(self, steps: int) -> list[list[Draft]]:
        """The life of a contact by commands, refusals among them."""
        outer = self._id("ext")
        who, key = {"external_id": outer}, key_for({"external_id": outer})
        phone, second, mail = self._phone(), self._phone(), f"{outer}@example.com".lower()
        say = functools.partial(self._say, key, f"user:{self._random.randrange(9)}")
        new = {
            "external_id": outer,
            "first_name": "Ada",
            "phone": phone,
            "tags": ["lead"],
            "attributes": {"n": 0},
        }
        # The second and the third are refused: one for the identifier, one for the external id.
        line = [
            say("contact.create", **new),
            say("contact.create", phone=phone),
            say("contact.create", external_id=outer),
        ]
        chapters = [
            [
                say(
                    "contact.upsert",
                    external_id=outer,
                    last_name="L",
                    email=mail,
                    attributes={"n": 5, "city": "Ulm"},
                )
            ],
            [
                say("identifier.add", contact=who, channel="sms", identifier=second),
                say("identifier.set_primary", contact=who, channel="sms", identifier=second),
                say("identifier.verify", contact=who, channel="sms", identifier=phone),
                say("identifier.remove", contact=who, channel="sms", identifier=phone),
                say("identifier.remove", contact=who, channel="sms", identifier=phone),
            ],
            [
                say("contact.delete", contact=who, reason="asked"),
                say("contact.update", contact=who, set={"first_name": "Nobody"}),
                say("contact.restore", contact=who, reason="back"),
            ],
            [
                say(
                    "timeline.record",
                    contact=who,
                    type="note_added",
                    category="note",
                    title="Call",
                    payload={"a": 1},
                ),
                say("timeline.record", contact=who, type="x", category="no such category"),
            ],
            [
                say("contact.update", contact=who, set={"status": "blocked", "tags": ["vip", "late"]}),
                say("contact.update", contact=who, set={"tags": ["vip"]}, unset=["attributes.n"]),
                say("contact.update", contact=who, set={"status": "nonsense"}),
                say("contact.update", contact=who, set={"first_name": "Eve"}, expected_version=99),
            ],
            [say("contact.update", contact={"external_id": self._id("nobody")}, set={"first_name": "X"})],
        ]
        for step in range(steps):
            line += chapters[step % len(chapters)] if step < len(chapters) else []
            line.append(
                say("contact.update", contact=who, set={"attributes": {"n": step}, "first_name": f"A{step}"})
            )
        return [line]

    def _say(self, key: str, actor: str, name: str, **data: Any) -> Draft:
        return command(name, self.tenant, key, data, actor=actor, time=self._now().isoformat())

    def _notified(self, steps: int) -> list[list[Draft]]:
        """A contact whose events are delivered, read, skipped and deleted, all of it more than once."""
        outer, nobody = self._id("ext"), {"external_id": self._id("nobody")}
        who, key = {"external_id": outer}, key_for({"external_id": outer})
        say = functools.partial(self._say, key, "service:push")
        titles = [self._id("notice") for _ in range(12)]
        self.notices += titles
        self.prologue.append(say("contact.create", external_id=outer))
        self.prologue.append(
            say(
                "timeline.record_many",
                contact=who,
                events=[notices.notice(n, title) for n, title in enumerate(titles)],
            )
        )

        def some(count: int) -> dict[str, Any]:
            return {"event_ids": [f"@{title}" for title in self._random.sample(titles, count)]}

        chapters = notices.chapters(say, some, who, nobody, lambda: self._id("further"))
        return [[draft for step in range(steps) for draft in chapters[step % len(chapters)]()]]

    def _shared(self, steps: int) -> list[list[Draft]]:
        """A contact that webhooks and commands are about at the same time."""
        phone = self._phone()
        who = {"channel": "sms", "identifier": phone}
        key = key_for(who)
        self.prologue.append(
            command("contact.create", self.tenant, key, {"phone": phone, "first_name": "Both"})
        )
        texts, orders = [], []
        for step in range(steps):
            at = self._now()
            fields = {"message_id": self._id("m"), "text": f"s{step}", "occurred_at": at.isoformat()}
            texts.append(self._neutral(key, phone, at, **fields))
            update = {"contact": who, "set": {"attributes": {f"k{step % 2}": step}}}
            orders.append(command("contact.update", self.tenant, key, update))
            note = {"contact": who, "type": "note_added", "category": "note", "title": f"note {step}"}
            orders.append(command("timeline.record", self.tenant, key, note))
        return [texts, orders]

    def _repeat(self, line: list[Draft]) -> list[Draft]:
        """A producer's retries: some messages come again, later, as they were."""
        again = list(line)
        for draft in line:
            if self._random.random() < 0.08:
                again.insert(self._random.randrange(again.index(draft) + 1, len(again) + 1), draft)
        return again

    def _interleave(self, lines: list[list[Draft]]) -> list[Draft]:
        """Mix keys, each in its order."""
        queues = [list(reversed(line)) for line in lines]
        mixed: list[Draft] = []
        while queues:
            queue = self._random.choice(queues)
            mixed.append(queue.pop())
            if not queue:
                queues.remove(queue)
        return mixed


def shuffled_across_keys(drafts: list[Draft], times: int, seed: int) -> list[Draft]:
    """Everything ``times`` times: each key's passes one after the other, keys mixed anew."""
    by_key: dict[str, list[Draft]] = {}
    for draft in drafts:
        prefix, *_, key = draft.subject.split(".")
        by_key.setdefault(f"{prefix}.{key}", []).append(draft)
    chooser = random.Random(seed)
    queues = [(line * times)[::-1] for line in by_key.values()]
    mixed: list[Draft] = []
    while queues:
        queue = chooser.choice(queues)
        mixed.append(queue.pop())
        if not queue:
            queues.remove(queue)
    return mixed
