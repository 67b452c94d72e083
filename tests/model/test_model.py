"""The model itself, on cases whose answer can be read off the pages in docs/."""

from __future__ import annotations

import ast
import itertools
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.model.build import Draft, command, neutral, wa_status, wa_text, whatsapp
from tests.model.decode import Accepted
from tests.model.fold import Fate, Model

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Bus:
    """Takes drafts as the broker would, and folds them."""

    def __init__(self) -> None:
        self.titles = {str(uuid.UUID(int=n)): f"n{n}" for n in range(9)}
        self.model = Model(poison=lambda message: b"POISON" in message.body, titles=self.titles)
        self._numbers = itertools.count(1)

    def send(self, draft: Draft) -> Fate:
        stream = draft.subject.partition(".")[0].upper()
        message = Accepted(stream, next(self._numbers), draft.subject, draft.headers, draft.body, NOW)
        return self.model.take(message)

    def only(self, tenant: str = "acme"):
        (person,) = self.model.people[tenant]
        return person


@pytest.fixture
def bus() -> Bus:
    return Bus()


def types(person) -> list[str]:
    return [h.type for h in person.timeline]


def told(person) -> list[tuple[str, int]]:
    return [(t.type, t.version) for t in person.told]


def test_imports_nothing_of_what_it_checks():
    modules = [path for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("test_")]
    assert len(modules) > 5
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path.name}: a relative import"
                names = [node.module or ""]
            for name in names:
                assert name.partition(".")[0] not in {"workers", "storage", "ops", "contracts"}, path.name


def test_a_message_creates_its_sender_once(bus: Bus):
    first = neutral("acme", "k", "+491700000001", text="hi", message_id="m1")
    assert bus.send(first).status == "applied"
    assert bus.send(first).status == "duplicate"
    again = bus.send(neutral("acme", "k", "+491700000001", text="hi", message_id="m1"))
    assert (again.status, again.items) == ("applied", ["duplicate"])
    bus.send(neutral("acme", "k", "+49 170 0000001", text="there", message_id="m2"))
    person = bus.only()
    assert types(person) == ["contact_created", "sms_received", "sms_received"]
    assert told(person) == [("contact.created", 1), ("contact.updated", 2)]  # a new spelling is kept


def test_profile_name_names_but_fills_no_field(bus: Bus):
    bus.send(
        whatsapp(
            "acme", "k", [wa_text("491700000001", "w1", 1_700_000_000, "x")], names={"491700000001": "Ann"}
        )
    )
    document = bus.only().document()
    assert document["display_name"] == "Ann"
    assert document["first_name"] is None
    assert document["phone"] is None  # primary of channel sms, and this is whatsapp
    assert document["identifiers"] == [["whatsapp", "", "+491700000001", True, False, "Ann", "491700000001"]]


def test_statuses_stay_as_events_and_touch_nobody(bus: Bus):
    for status in ("read", "delivered", "read"):
        bus.send(whatsapp("acme", "k", statuses=[wa_status("491700000001", "w9", 1_700_000_000, status)]))
    person = bus.only()
    assert types(person) == ["contact_created", "whatsapp_message_read", "whatsapp_message_delivered"]
    assert person.last_contact_at is None


def test_update_tells_field_by_field(bus: Bus):
    who = {"external_id": "e1"}
    bus.send(
        command(
            "contact.create", "acme", "k", {"external_id": "e1", "first_name": "A", "attributes": {"x": 1}}
        )
    )
    change = {
        "contact": who,
        "set": {"first_name": "B", "status": "inactive", "tags": ["t"], "attributes": {"y": 2}},
        "unset": ["attributes.x"],
        "expected_version": 1,
    }
    assert bus.send(command("contact.update", "acme", "k", change)).status == "applied"
    assert bus.send(command("contact.update", "acme", "k", change)).code == "version_conflict"
    person = bus.only()
    expected = ["custom_field_cleared", "custom_field_set", "contact_updated", "status_changed", "tag_added"]
    assert sorted(types(person)[1:]) == sorted(expected)
    assert told(person)[1:] == [("contact.updated", 2), ("contact.tagged", 2)]
    bus.send(command("contact.update", "acme", "k", {"contact": who, "set": {"first_name": "B"}}))
    assert person.version == bus.only().version == 2


def test_deletion_and_what_undoes_it(bus: Bus):
    who = {"channel": "sms", "identifier": "+491700000001"}
    bus.send(neutral("acme", "k", "+491700000001", message_id="m1"))
    assert (
        bus.send(command("contact.delete", "acme", "k", {"contact": who, "reason": "gone"})).status
        == "applied"
    )
    assert bus.send(command("contact.delete", "acme", "k", {"contact": who})).status == "applied"
    assert (
        bus.send(command("contact.update", "acme", "k", {"contact": who, "set": {}})).code
        == "contact_deleted"
    )
    taken = bus.send(command("contact.create", "acme", "k", {"phone": "+491700000001"}))
    assert taken.code == "identifier_taken"
    bus.send(neutral("acme", "k", "+491700000001", message_id="m2"))
    person = bus.only()
    assert not person.deleted
    assert told(person) == [("contact.created", 1), ("contact.deleted", 2), ("contact.restored", 3)]
    assert person.told[-1].facts == {"reason": "inbound"}


def test_crosswise_identifiers_go_to_the_stronger(bus: Bus):
    bus.send(command("contact.create", "acme", "k", {"email": "a@example.com"}))
    bus.send(command("contact.create", "acme", "k", {"phone": "+491700000001"}))
    bus.send(
        command(
            "contact.upsert",
            "acme",
            "k",
            {"email": "A@example.com", "phone": "+491700000001", "first_name": "P"},
        )
    )
    by_mail, by_phone = bus.model.people["acme"]
    assert by_mail.fields["first_name"] is None
    assert by_phone.fields["first_name"] == "P"
    assert "identifier_conflict" in types(by_mail)
    assert "identifier_conflict" in types(by_phone)
    assert by_mail.version == 1


@pytest.mark.parametrize("identifier", ["no address", "a@example.com"])
def test_an_upsert_gives_what_it_names_its_contact_by(bus: Bus, identifier: str):
    who = {"channel": "email", "identifier": identifier}
    fate = bus.send(command("contact.upsert", "acme", "k", {"contact": who, "first_name": "A"}))
    if "@" not in identifier:
        assert (fate.code, bus.model.people["acme"]) == ("invalid", [])
        return
    assert bus.only().primary("email") == identifier
    bus.send(command("contact.upsert", "acme", "k", {"contact": who, "last_name": "B"}))
    assert bus.only().display_name() == "A B"


def test_identifiers(bus: Bus):
    who = {"external_id": "e1"}
    base = {"contact": who, "channel": "sms", "identifier": "+491700000002"}
    bus.send(command("contact.create", "acme", "k", {"external_id": "e1", "phone": "+491700000001"}))
    assert bus.send(command("identifier.verify", "acme", "k", base)).code == "identifier_not_found"
    for name in ("add", "add", "verify", "set_primary", "remove"):
        assert bus.send(command(f"identifier.{name}", "acme", "k", base)).status == "applied"
    # The first follows the removed one.
    kinds = ["added", "verified", "primary_changed", "primary_changed", "removed"]
    assert types(bus.only())[1:] == [f"identifier_{kind}" for kind in kinds]


def test_no_version_rises_in_silence(bus: Bus):
    who = {"contact": {"external_id": "e1"}}
    base = {**who, "channel": "sms", "identifier": "+491700000001"}
    bus.send(command("contact.create", "acme", "k", {"external_id": "e1", "phone": "+491700000001"}))
    spelled = {**base, "identifier": "+49 170 0000001"}
    steps = [
        ("add", spelled, "contact_updated"),
        ("verify", {**base, "shared": True}, "identifier_verified"),
        ("verify", {**base, "is_verified": False}, "contact_updated"),
    ]
    for version, (verb, data, kind) in enumerate(steps, 2):
        assert bus.send(command(f"identifier.{verb}", "acme", "k", data)).status == "applied"
        assert (bus.only().version, types(bus.only())[-1]) == (version, kind)


def test_a_removed_primary_is_followed_by_the_oldest(bus: Bus):
    who = {"external_id": "e1"}
    phones = [f"+49170000000{n}" for n in range(3)]
    bus.send(command("contact.create", "acme", "k", {"external_id": "e1", "phone": phones[0]}))
    for phone in phones[1:]:
        bus.send(
            command("identifier.add", "acme", "k", {"contact": who, "channel": "sms", "identifier": phone})
        )
    bus.send(
        command("identifier.remove", "acme", "k", {"contact": who, "channel": "sms", "identifier": phones[0]})
    )
    assert bus.only().primary("sms") == phones[1]
    assert types(bus.only())[-2:] == ["identifier_primary_changed", "identifier_removed"]


def test_timeline_record_leaves_the_version(bus: Bus):
    bus.send(command("contact.create", "acme", "k", {"external_id": "e1"}))
    event = {"contact": {"external_id": "e1"}, "type": "note_added", "category": "note", "title": "T"}
    bus.send(command("timeline.record", "acme", "k", event, actor="user:7"))
    person = bus.only()
    assert person.version == 1
    assert person.timeline[-1].facts["triggered_by"] == "user:7"
    assert (
        bus.send(command("timeline.record", "acme", "k", {**event, "category": "nonsense"})).code == "invalid"
    )


def test_of_many_events_each_is_refused_alone(bus: Bus):
    bus.send(command("contact.create", "acme", "k", {"external_id": "e1"}))
    note = {"type": "note_added", "category": "note"}
    events = [note, {**note, "category": "nonsense"}, {**note, "contact": {"external_id": "nobody"}}, 5, note]
    data = {"contact": {"external_id": "e1"}, "events": events}
    fate = bus.send(command("timeline.record_many", "acme", "k", data))
    assert (fate.status, fate.items) == (
        "applied",
        ["applied", "rejected", "rejected", "rejected", "applied"],
    )
    assert fate.refused == ["invalid", "contact_not_found", "invalid"]
    assert types(bus.only()) == ["contact_created", "note_added", "note_added"]
    for bad in ({}, {"events": []}, {"events": [note], "type": "x"}, {"events": [note] * 501}):
        assert bus.send(command("timeline.record_many", "acme", "k", bad)).code == "invalid"


def test_marks_are_made_once(bus: Bus):
    bus.send(command("contact.create", "acme", "k", {"external_id": "e1"}))
    past = {"expires_at": "2001-01-01T00:00:00Z"}
    events = [
        {
            "type": "x",
            "category": "note",
            "title": f"n{n}",
            "visible_to_client": n == 0,
            **(past if n == 2 else {}),
        }
        for n in range(4)
    ]
    who = {"external_id": "e1"}
    bus.send(command("timeline.record_many", "acme", "k", {"contact": who, "events": events}))
    ids = list(bus.titles)[:4]

    def do(verb: str, *which: int, **fields: Any) -> list[tuple[str, list[str]]]:
        """What was told of it."""
        before = len(bus.only().told)
        data = {"event_ids": [ids[n] for n in which], **fields}
        assert bus.send(command(f"timeline.{verb}", "acme", "k", data)).status == "applied"
        return [
            (mark, titles) for t in bus.only().told[before:] for mark, titles in t.facts.items() if titles
        ]

    assert do("mark_delivered", 0, 1, reader="agent") == [("delivered", ["n1"])]
    assert do("mark_delivered", 0, 1) == [("delivered", ["n0"])]
    assert do("mark_delivered", 0, 1) == []
    assert do("mark_read", 1, 3) == [("delivered", ["n3"]), ("read", ["n1", "n3"])]
    assert do("mark_delivered", 0, 1, 2, expired=True) == [("delivered", ["n2"]), ("skipped", ["n2"])]
    assert do("delete", 3, 3) == [("deleted", ["n3"])]
    assert do("mark_read", 3) == do("delete", 3) == []
    assert bus.only().version == 1
    nobody = {"event_ids": ids, "contact": {"external_id": "nobody"}}
    assert bus.send(command("timeline.mark_read", "acme", "k", nobody)).code == "contact_not_found"
    assert bus.send(command("timeline.delete", "acme", "k", {"event_ids": ["@n1"]})).code == "invalid"


@pytest.mark.parametrize(
    ("draft", "reason"),
    [
        (Draft("webhook.message.*.k", b"{}"), "bad_subject"),
        (Draft("webhook.message.k", b"{}"), "bad_subject"),
        (Draft("webhook.message.-.k", b"{}"), "bad_subject"),
        (Draft("webhook.message.acme.k", b"{"), "not_json"),
        (Draft("webhook.message.acme.k", b"[" * 100_000), "not_json"),
        (Draft("webhook.message.acme.k", b"[]"), "bad_envelope"),
        (Draft("webhook.message.acme.k", b"{}", headers={}), "bad_envelope"),
        (Draft("webhook.message.acme.k", b"x" * 900_001), "too_large"),
        (neutral("acme", "k", "+491700000001", text="a\0b"), "unstorable"),
        (neutral("acme", "k", "+491700000001", text="a\ud800b"), "unstorable"),
        (neutral("acme", "k", "9" * 10_000), "invalid_payload"),
        (neutral("acme", "k", "+491700000001", envelope_tenantid="other"), "tenant_mismatch"),
        (neutral("acme", "k", "+491700000001", envelope_dataversion="9.0"), "unknown_version"),
        (command("contact.explode", "acme", "k", {}), "unknown_type"),
        (command("contact.create", "acme", "k", {}, type="command.contact.delete"), "type_mismatch"),
        (neutral("acme", "k", "+491700000001", text="POISON"), "handler_failed"),
    ],
)
def test_dead_letters(bus: Bus, draft: Draft, reason: str):
    fate = bus.send(draft)
    assert (fate.status, fate.code) == ("dead", reason)
    assert not any(bus.model.people.values())
