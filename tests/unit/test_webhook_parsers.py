"""What the parsers refuse, what they pass over, and that nothing else ever comes out of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.envelope import Envelope
from contracts.webhooks import PROVIDERS, Item, PayloadError
from contracts.webhooks.fields import is_person, moment_of
from contracts.webhooks.naming import STATUS_RANK, consent_of, dedupe_key, event_type, keyword_of, status_rank

ACCOUNT_FIELDS = [
    "account_alerts",
    "account_review_update",
    "account_update",
    "business_capability_update",
    "calls",
    "flows",
    "group_lifecycle_update",
    "group_participants_update",
    "history",
    "message_template_quality_update",
    "message_template_status_update",
    "messaging_handovers",
    "phone_number_name_update",
    "security",
    "smb_app_state_sync",
    "template_category_update",
]


def parse(provider: str, data: Any) -> list[Item]:
    return PROVIDERS[provider](Envelope(id="envelope", source="source", data=data))


def whatsapp(**value: Any) -> dict[str, Any]:
    return {
        "object": "whatsapp_business_account",
        "entry": [{"changes": [{"field": "messages", "value": value}]}],
    }


@pytest.mark.parametrize(
    ("provider", "data", "field"),
    [
        ("whatsapp", None, "data"),
        ("whatsapp", [], "data"),
        ("whatsapp", "entry=1", "data"),
        ("whatsapp", {}, "entry"),
        ("whatsapp", {"object": "whatsapp_business_account"}, "entry"),
        ("whatsapp", {"object": "whatsapp_business_account", "entry": {}}, "entry"),
        ("whatsapp", {"object": "page", "entry": []}, "object"),
        ("whatsapp", whatsapp(messages=[{"from": "1" * 10_000, "id": "wamid.1"}]), "wa_id"),
        ("whatsapp", whatsapp(messages=[{"from": "15550142001", "id": "w" * 256}]), "messages.id"),
        ("whatsapp", whatsapp(statuses=[{"id": "w" * 256, "status": "sent"}]), "statuses.id"),
        ("twilio", None, "data"),
        ("twilio", [{"type": "com.twilio.messaging"}], "data"),
        ("twilio", {}, "MessageSid"),
        ("twilio", "", "MessageSid"),
        ("twilio", "hello", "MessageSid"),
        ("twilio", "MessageSid=SM1&From=%2B15550142001&Body=a%00b", "data"),
        ("twilio", {"MessageSid": "S" * 256}, "MessageSid"),
        ("twilio", {"MessageSid": "SM1", "SmsStatus": "received", "From": "+" + "1" * 300}, "From"),
        ("message", None, "data"),
        ("message", {"channel": "sms"}, "from"),
        ("message", {"from": "+15550142001"}, "channel"),
        ("message", {"channel": "sms", "from": "  "}, "from"),
        ("message", {"channel": "sms", "from": None}, "from"),
        ("message", {"channel": "sms", "from": 15550142001}, "from"),
        ("message", {"channel": "sms", "from": "1" * 256}, "from"),
        ("message", {"channel": "Sms!", "from": "+15550142001"}, "channel"),
        ("message", {"channel": "sms", "from": "+15550142001", "body": "x"}, "body"),
        ("message", {"channel": "sms", "from": "+15550142001", "direction": "sideways"}, "direction"),
        ("message", {"channel": "sms", "from": "+15550142001", "occurred_at": "yesterday"}, "occurred_at"),
        ("message", {"channel": "sms", "from": "+15550142001", "occurred_at": 1751000000}, "occurred_at"),
        (
            "message",
            {"channel": "sms", "from": "+15550142001", "occurred_at": "2025-06-27T04:53:20"},
            "occurred_at",
        ),
        (
            "message",
            {"channel": "sms", "from": "+1", "occurred_at": "0001-01-01T00:00:00+14:00"},
            "occurred_at",
        ),
        ("message", {"channel": "sms", "from": "+15550142001", "thread_id": "t" * 129}, "thread_id"),
        ("message", {"channel": "sms", "from": "+15550142001", "session_id": "s" * 129}, "session_id"),
        ("message", {"channel": "sms", "from": "+15550142001", "message_id": "m" * 256}, "message_id"),
        (
            "message",
            {"channel": "sms", "from": "+1", "identifiers": [{"channel": "email"}]},
            "identifiers.0.identifier",
        ),
    ],
)
def test_what_cannot_have_been_meant_is_refused_by_field(provider: str, data: Any, field: str) -> None:
    with pytest.raises(PayloadError) as refused:
        parse(provider, data)
    assert refused.value.field == field


@pytest.mark.parametrize("field", ACCOUNT_FIELDS)
def test_account_level_fields_yield_nothing(field: str) -> None:
    value = {
        "event": "APPROVED",
        "contacts": [{"wa_id": "15550142001"}],
        "messages": [{"from": "15550142001", "id": "wamid.1"}],
        "history": [{"threads": [{"id": "15550142001", "messages": []}]}],
    }
    body = {"object": "whatsapp_business_account", "entry": [{"changes": [{"field": field, "value": value}]}]}
    assert parse("whatsapp", body) == []


def test_names_are_cut_and_never_a_reason_to_refuse() -> None:
    body = whatsapp(
        contacts=[{"wa_id": "15550142001", "profile": {"name": "n" * 1000}}],
        messages=[{"from": "15550142001", "id": "wamid.1", "type": "text", "text": {"body": "hi"}}],
    )
    assert parse("whatsapp", body)[0].profile_name == "n" * 255
    neutral = {"channel": "telegram", "from": "4711", "profile_name": "n" * 1000}
    assert parse("message", neutral)[0].profile_name == "n" * 255


def test_a_group_id_too_long_for_a_thread_stays_in_the_payload() -> None:
    message = {"from": "15550142001", "id": "wamid.1", "type": "text", "group_id": "g" * 129}
    item = parse("whatsapp", whatsapp(messages=[message]))[0]
    assert item.thread_id is None
    assert item.payload["group_id"] == "g" * 129


def test_null_means_absent_in_a_neutral_message() -> None:
    nothing = dict.fromkeys(
        ["scope", "profile_name", "message_id", "text", "occurred_at", "session_id", "thread_id"]
    )
    assert parse("message", {"channel": "telegram", "from": "4711", **nothing}) == parse(
        "message", {"channel": "telegram", "from": "4711"}
    )


def test_ids_of_a_neutral_message_are_without_the_space_around_them() -> None:
    ids = {"message_id": "m" * 255, "session_id": "s" * 128, "thread_id": "t"}
    person = {"channel": "telegram", "from": "4711"}
    spaced = {name: f" {id_}\u00a0\n" for name, id_ in ids.items()}
    (item,) = parse("message", {**person, **spaced})
    assert (item.session_id, item.thread_id) == (ids["session_id"], "t")
    assert parse("message", {**person, **ids}) == [item]


@pytest.mark.parametrize(
    "word", ["STOP", "stop", " Stop\n", "STOP.", "StopAll", "stop all", "UNSUBSCRIBE", "cancel"]
)
def test_a_whole_body_that_is_a_keyword_revokes(word: str) -> None:
    assert consent_of(keyword_of(word)) is False


@pytest.mark.parametrize("word", ["START", "unstop"])
def test_a_whole_body_that_is_a_keyword_grants(word: str) -> None:
    assert consent_of(keyword_of(word)) is True


@pytest.mark.parametrize(
    "text", [None, "", "yes", "YES", "help", "stop please", "don't stop", "startled", "s" * 10_000]
)
def test_other_words_say_nothing_of_consent(text: str | None) -> None:
    assert consent_of(keyword_of(text)) is None


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("1751000000", datetime(2025, 6, 27, 4, 53, 20, tzinfo=UTC)),
        (1751000000, datetime(2025, 6, 27, 4, 53, 20, tzinfo=UTC)),
        (1751000000.5, datetime(2025, 6, 27, 4, 53, 20, 500000, tzinfo=UTC)),
        ("1751000000123", datetime(2025, 6, 27, 4, 53, 20, 123000, tzinfo=UTC)),
        ("915148800", datetime(1999, 1, 1, tzinfo=UTC)),
        ("4070908800", datetime(2099, 1, 1, tzinfo=UTC)),
        *(
            (junk, None)
            for junk in ("", "0", 0, -1, "-1", "soon", None, True, [], "٣", "1e9", 10**30, "9" * 5000)
        ),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_moments(value: Any, moment: datetime | None) -> None:
    assert moment_of(value) == moment


def test_event_types_and_ranks() -> None:
    assert event_type("sms", "received") == "sms_received"
    assert event_type("email", "sent") == "email_sent"
    assert event_type("whatsapp", "read") == "whatsapp_message_read"
    assert event_type("telegram", "received") == "telegram_message_received"
    order = ["queued", "sent", "delivered", "read", "played", "failed"]
    assert sorted(order, key=STATUS_RANK.__getitem__) == order
    assert status_rank("warning") == 0


@pytest.mark.parametrize(
    ("channel", "identifier", "person"),
    [
        ("sms", "+15550142001", True),
        ("sms", "0151 1234567", True),
        ("sms", "24273", False),
        ("sms", "+24273", False),
        ("sms", "ACME", False),
        ("sms", "ACME1234567", False),
        ("telegram", "12", True),
        ("whatsapp", "US.1", True),
    ],
)
def test_machines_are_no_people(channel: str, identifier: str, person: bool) -> None:
    assert is_person(channel, identifier) is person


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


def shaped(*names: str) -> st.SearchStrategy[Any]:
    """Objects with the fields that a parser looks for, holding anything."""
    words = st.sampled_from(
        ["15550142001", "US.1", "wamid.1", "text", "system", "edit", "stop", "sent", "group", "1"]
    )
    return junk | st.dictionaries(st.sampled_from(names), words | junk, max_size=len(names))


identity_fields = (
    "type",
    "wa_id",
    "new_wa_id",
    "user_id",
    "previous_user_id",
    "customer",
    "body",
    "marketing",
)
contents = shaped("body", "caption", "type", "message", "text", "original_message_id", *identity_fields)
messages = st.dictionaries(
    st.sampled_from(
        ["from", "to", "id", "timestamp", "type", "text", "edit", "revoke", "system", "interactive"]
    )
    | st.sampled_from(
        ["button", "contacts", "context", "errors", "referral", "group_id", "from_user_id", "image"]
    ),
    contents | st.sampled_from(["text", "edit", "system", "interactive", "image", "contacts", "15550142001"]),
    max_size=8,
)
records = st.one_of(
    messages,
    shaped("id", "status", "recipient_id", "recipient_type", "recipient_participant_id", "errors", "pricing"),
    shaped("wa_id", "user_id", "profile", "value", "category", "timestamp"),
)
values = st.dictionaries(
    st.sampled_from(["metadata", "contacts", "messages", "statuses", "message_echoes", "user_preferences"])
    | st.sampled_from(["user_id_update", "standby", "errors"]),
    st.lists(records | junk, max_size=3) | junk,
    max_size=5,
)
changes = st.fixed_dictionaries(
    {
        "field": st.sampled_from(
            ["messages", "smb_message_echoes", "standby", "user_preferences", "user_id_update"]
        )
        | junk,
        "value": values | junk,
    }
)
bodies = st.fixed_dictionaries(
    {"entry": st.lists(st.fixed_dictionaries({"changes": st.lists(changes, max_size=3)}) | junk)}
)
forms = st.dictionaries(
    st.sampled_from(
        ["MessageSid", "SmsStatus", "MessageStatus", "From", "To", "Body", "NumMedia", "WaId", "OptOutType"]
    ),
    st.sampled_from(
        ["received", "sent", "STOP", "+15550142001", "whatsapp:+15550142001", "whatsapp:", ":", "3"]
    )
    | junk,
)
neutral = st.fixed_dictionaries(
    {"channel": st.sampled_from(["sms", "telegram"]), "from": st.text(max_size=20) | junk},
    optional=dict.fromkeys(
        ["text", "message_id", "occurred_at", "identifiers", "profile_name", "extra"], junk
    ),
)


def sound(provider: str, data: Any) -> None:
    try:
        items = parse(provider, data)
    except PayloadError:
        return
    for item in items:
        assert item.dedupe_key
        assert item.identifiers
        assert all(one.identifier.strip() and len(one.identifier) <= 255 for one in item.identifiers)
        assert len(item.type) <= 100
        assert item.category in {"general", "tracking", "system"}
        assert (item.kind == "status") == (item.status is not None)
        assert (item.kind == "identifier_changed") == bool(item.new_identifiers)
        assert item.occurred_at is None or item.occurred_at.tzinfo is UTC


@pytest.mark.parametrize(
    "sender", ["Ünïcode:abc1234567", "\u0661a:abc1234567", "a b:abc1234567", "c" * 51 + ":abc"]
)
def test_a_channel_that_nobody_can_name_is_passed_over(sender: str) -> None:
    assert parse("twilio", {"MessageSid": "SM1", "From": sender}) == []
    assert parse("twilio", {"MessageSid": "SM1", "MessageStatus": "sent", "To": sender}) == []


@pytest.mark.parametrize("channel", ["messenger", "google-rcs", "c" * 50])
def test_a_channel_that_one_can_name_is_read(channel: str) -> None:
    (item,) = parse("twilio", {"MessageSid": "SM1", "From": f"{channel.title()}:abc1234567"})
    assert item.channel == channel


@pytest.mark.parametrize("word", ["gelöscht", "прочитано", "既読", "re ad", "s" * 41])
def test_a_status_that_is_no_plain_word_is_passed_over(word: str) -> None:
    assert parse("whatsapp", status_of("wamid.1", word)) == []
    assert parse("twilio", sms("SM1", word)) == []


def key_of(provider: str, data: Any, source: str = "s", id_: str = "e") -> str:
    (item,) = PROVIDERS[provider](Envelope(id=id_, source=source, data=data))
    return item.dedupe_key


def neutral_key(channel: str, message_id: str | None, source: str, id_: str) -> str:
    return key_of("message", {"channel": channel, "from": "person", "message_id": message_id}, source, id_)


def said(id_: str | None) -> dict[str, Any]:
    return whatsapp(messages=[{"id": id_, "from": "15550142001"}])


def status_of(id_: str, word: str, **more: Any) -> dict[str, Any]:
    return whatsapp(statuses=[{"id": id_, "status": word, "recipient_id": "15550142001", **more}])


def update(old: str, new: str) -> dict[str, Any]:
    value = {"user_id_update": [{"user_id": {"previous": old, "current": new}}]}
    return {"entry": [{"changes": [{"field": "user_id_update", "value": value}]}]}


def preference(at: str | None) -> dict[str, Any]:
    value = {"user_preferences": [{"user_id": "p", "value": "stop", "timestamp": at}]}
    return {"entry": [{"changes": [{"field": "user_preferences", "value": value}]}]}


def sms(sid: str, status: str | None = None) -> dict[str, Any]:
    number = "+15550142001"
    return {"MessageSid": sid, "From": number, "To": number, "MessageStatus": status}


IN_GROUP = {"recipient_type": "group", "recipient_participant_user_id": "U"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (neutral_key("push", None, "a:b", "c"), neutral_key("push", None, "a", "b:c")),
        (neutral_key("push", None, "a\\", "b"), neutral_key("push", None, "a", "\\b")),
        (neutral_key("push", None, "a\\:b", "c"), neutral_key("push", None, "a\\", "b:c")),
        (neutral_key("push", "m9", "s", "e"), neutral_key("sms-app", None, "push", "m9")),
        (neutral_key("envelope", "m9", "s", "e"), neutral_key("push", None, "message", "envelope:m9")),
        (key_of("whatsapp", status_of("w1", "read")), key_of("whatsapp", said("w1:read"))),
        (key_of("whatsapp", status_of("w1:read", "sent")), key_of("whatsapp", said("w1:read:sent"))),
        (key_of("whatsapp", said("a:b:0")), key_of("whatsapp", said(None), "a", "b")),
        (key_of("whatsapp", said(None), "a:b", "c"), key_of("whatsapp", said(None), "a", "b:c")),
        (
            key_of("whatsapp", status_of("user_id_update", "a", **IN_GROUP)),
            key_of("whatsapp", update("a", "U")),
        ),
        (key_of("whatsapp", update("a:b", "c")), key_of("whatsapp", update("a", "b:c"))),
        (key_of("whatsapp", preference("a:b"), "x", "y"), key_of("whatsapp", preference(None), "a", "b")),
        (key_of("whatsapp", preference(None), "a:b", "c"), key_of("whatsapp", preference(None), "a", "b:c")),
        (key_of("twilio", sms("SM1", "read")), key_of("twilio", sms("SM1:read"))),
    ],
)
def test_two_happenings_never_have_one_key(one: str, other: str) -> None:
    assert one != other


@given(st.lists(st.text(":\\a"), min_size=1), st.lists(st.text(":\\a"), min_size=1))
def test_other_parts_make_another_key(one: list[str], other: list[str]) -> None:
    assert (dedupe_key(*one) == dedupe_key(*other)) == (one == other)


def test_keys_of_ordinary_ids_are_plain() -> None:
    assert neutral_key("email", "urn:m1", "s", "e") == "message:email:urn:m1"
    assert neutral_key("push", None, "gateway", "e1") == "envelope:gateway:e1"
    assert key_of("whatsapp", said("wamid.HBgL==")) == "whatsapp:wamid.HBgL=="
    assert key_of("whatsapp", status_of("wamid.1", "read")) == "whatsapp:wamid.1:read"
    assert key_of("whatsapp", update("US.1", "US.2")) == "whatsapp:user_id_update:US.1:US.2"
    assert key_of("twilio", sms("SM1", "sent")) == "twilio:SM1:sent"


@settings(max_examples=300, deadline=None)
@given(bodies | junk)
def test_whatsapp_raises_nothing_else(data: Any) -> None:
    sound("whatsapp", data)


@settings(max_examples=200, deadline=None)
@given(forms | junk)
def test_twilio_raises_nothing_else(data: Any) -> None:
    sound("twilio", data)


@settings(max_examples=200, deadline=None)
@given(neutral | junk)
def test_message_raises_nothing_else(data: Any) -> None:
    sound("message", data)


@pytest.mark.parametrize("body", ["caf%E9", "caf\ufffd"])
def test_a_letter_that_is_lost_is_all_that_is_lost(body: str):
    (item,) = parse("twilio", f"MessageSid=SM1&From=%2B15550142001&Body={body}")
    assert (item.description, item.identifiers[0].identifier) == ("caf\ufffd", "+15550142001")
