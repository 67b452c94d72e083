"""The grammar of subjects, the partitions in them, and the keys."""

from __future__ import annotations

import re
import string
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts import subjects
from contracts.reference import ContactReference
from contracts.registry import COMMANDS, EVENT_MODELS, PROVIDERS, QUERIES
from contracts.subjects import PARTITIONS, STRAY, STREAMS, Subject, SubjectError

TOKENS = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=64)
NO_TOKEN = ["", "*", ">", "a.b", "a b", "ä", "x" * 65, "a\n", "a/b", "\N{ARABIC-INDIC DIGIT ONE}"]
TENANTS = TOKENS.filter(lambda token: token != "-")
ID = uuid.UUID("0199d3a4-7c00-7000-8000-00000000c0de")


@given(st.sampled_from(sorted(PROVIDERS)), TENANTS, TOKENS)
def test_webhooks(provider: str, tenant: str, key: str) -> None:
    published = subjects.webhook(provider, tenant, key)
    assert published == f"webhook.{provider}.{tenant}.{key}"
    assert subjects.parse(published) == Subject("webhook", f"webhook.{provider}", tenant, key)


@given(st.sampled_from(sorted(COMMANDS)), TENANTS, TOKENS)
def test_commands(name: str, tenant: str, key: str) -> None:
    published = subjects.command(name, tenant, key)
    assert published == f"command.{name}.{tenant}.{key}"
    assert subjects.parse(published) == Subject("command", f"command.{name}", tenant, key)


@given(st.sampled_from(sorted(EVENT_MODELS)), TENANTS, st.uuids() | st.just("-"))
def test_events(name: str, tenant: str, contact_id: uuid.UUID | str) -> None:
    published = subjects.event(name, tenant, contact_id)
    assert subjects.parse(published) == Subject(name.partition(".")[0], name, tenant, str(contact_id))


@given(st.sampled_from(sorted(QUERIES)), TENANTS)
def test_queries(name: str, tenant: str) -> None:
    assert subjects.parse(subjects.query(name, tenant)) == Subject("query", f"query.{name}", tenant, "-")


@given(TOKENS)
def test_dead_letters(tenant: str) -> None:
    assert subjects.parse(subjects.dead_letter("WEBHOOK", tenant)).tenant == tenant


def test_without_a_key() -> None:
    assert subjects.webhook("twilio", "acme") == "webhook.twilio.acme.-"
    assert subjects.dead_letter("COMMAND") == "deadletter.COMMAND.-"


@pytest.mark.parametrize("token", NO_TOKEN)
def test_what_is_no_token(token: str) -> None:
    for make in (
        lambda: subjects.webhook("whatsapp", token, "k"),
        lambda: subjects.webhook("whatsapp", "acme", token),
        lambda: subjects.command("contact.create", token, "k"),
        lambda: subjects.query("contact.get", token),
        lambda: subjects.dead_letter("WEBHOOK", token),
        lambda: subjects.parse(f"webhook.whatsapp.{token}.k"),
    ):
        with pytest.raises(SubjectError):
            make()


def test_nobody_is_called_as_no_tenant_is() -> None:
    for make in (
        lambda: subjects.webhook("whatsapp", "-", "k"),
        lambda: subjects.command("contact.create", "-", "k"),
        lambda: subjects.event("contact.created", "-", ID),
        lambda: subjects.query("contact.get", "-"),
        lambda: subjects.parse("webhook.whatsapp.-.k"),
        lambda: subjects.parse("command.contact.create.-.k"),
        lambda: subjects.parse(f"contact.created.-.{ID}"),
        lambda: subjects.parse("query.contact.get.-"),
    ):
        with pytest.raises(SubjectError, match="is no tenant"):
            make()
    assert subjects.parse("deadletter.WEBHOOK.-") == Subject("deadletter", "deadletter.WEBHOOK", "-", "-")
    assert subjects.parse("webhook.whatsapp.--.-").tenant == "--"


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "webhook",
        "webhook.whatsapp.acme",
        "webhook.whatsapp.acme.k.k",
        "command.contact.acme.k",
        "other.a.b.c",
    ],
)
def test_what_is_no_subject(subject: str) -> None:
    with pytest.raises(SubjectError):
        subjects.parse(subject)


@given(st.text(max_size=80))
def test_nothing_else_is_ever_raised(subject: str) -> None:
    for read in (subjects.parse, subjects.split_partition):
        try:
            read(subject)
        except SubjectError:
            assert read is subjects.parse


@given(
    st.sampled_from(["webhook.whatsapp", "command.contact.create"]),
    TOKENS,
    TOKENS,
    st.integers(0, PARTITIONS - 1),
)
def test_the_broker_puts_the_partition_in(kind: str, tenant: str, key: str, partition: int) -> None:
    prefix, _, rest = f"{kind}.{tenant}.{key}".partition(".")
    assert subjects.split_partition(f"{prefix}.{partition}.{rest}") == (f"{prefix}.{rest}", partition)


@pytest.mark.parametrize(
    "stray",
    [
        "webhook.whatsapp.*.k",
        "webhook.a",
        "command.contact.create.acme",
        "webhook.32.a.b.c",
        "webhook.x.a.b.c",
    ],
)
def test_a_stray_stays_as_it_is(stray: str) -> None:
    assert subjects.split_partition(stray) == (stray, STRAY)


def test_streams_hold_what_is_published_on_them() -> None:
    """A partitioned subject has one token more than any that the stream takes, so that it is never taken twice."""
    for stream in STREAMS.values():
        patterns = [
            re.compile(s.replace(".", r"\.").replace("*", r"[^.]+").replace(">", ".+"))
            for s in stream.subjects
        ]
        if not stream.partitions:
            continue
        assert stream.transform_source is not None
        assert stream.transform_source.count("*") == stream.tokens
        longest = f"{stream.prefix}" + ".t" * stream.tokens
        assert any(pattern.fullmatch(longest) for pattern in patterns)
        assert not any(pattern.fullmatch(f"{longest}.t") for pattern in patterns)
        assert stream.partition_filter(7) == f"{stream.prefix}.7" + ".*" * stream.tokens
        assert stream.filters(STRAY) == stream.stray_filters
    assert {stream.name for stream in STREAMS.values() if stream.partitions} == {"WEBHOOK", "COMMAND"}
    assert STREAMS["WEBHOOK"].transform_destination == (
        "webhook.{{partition(32,2,3)}}.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}"
    )


# The keys were computed with coreutils: printf %s TEXT | sha256sum | cut -d' ' -f1 | xxd -r -p | basenc --base64url | cut -c1-22
@pytest.mark.parametrize(
    ("reference", "key"),
    [
        ({"id": str(ID)}, "0199d3a4-7c00-7000-8000-00000000c0de"),
        ({"external_id": "customer-42"}, "VzchKNaUHRsowU9AJqtARP"),
        ({"channel": "whatsapp", "identifier": "4915112345678"}, "XAPVwgH15wcjN2UWPOuOO6"),
        ({"channel": "push", "identifier": "Tok/en ä", "scope": "app:1"}, "EsdHUwRuRbHU9ZOtk_sNOP"),
    ],
)
def test_keys(reference: dict[str, str], key: str) -> None:
    assert subjects.key_for(reference) == key
    assert subjects.key_for(ContactReference.model_validate(reference)) == key


@given(st.text(min_size=1, max_size=255).filter(str.strip))
def test_every_key_is_a_token(external_id: str) -> None:
    try:
        external_id.encode()
    except UnicodeEncodeError:
        return
    key = subjects.key_for({"external_id": external_id})
    assert subjects.parse(subjects.command("contact.update", "acme", key)).key == key


def test_a_scope_of_nothing_is_no_scope() -> None:
    one = {"channel": "sms", "identifier": "+49151"}
    assert subjects.key_for(one) == subjects.key_for({**one, "scope": ""})


@pytest.mark.parametrize(
    "reference",
    [
        {},
        {"id": str(ID), "external_id": "x"},
        {"channel": "sms"},
        {"identifier": "x"},
        {"scope": "x"},
        {"external_id": "x", "scope": "x"},
        {"external_id": " "},
        {"external_id": "x" * 256},
        {"channel": "SMS", "identifier": "x"},
        {"id": "7"},
        {"external_id": "x", "more": 1},
    ],
)
def test_what_names_nobody(reference: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        subjects.key_for(reference)


@given(st.uuids())
def test_shards(contact_id: uuid.UUID) -> None:
    assert subjects.shard_of(contact_id) in range(subjects.SHARDS)
    assert subjects.shard_of(contact_id) == subjects.shard_of(uuid.UUID(str(contact_id)))


@pytest.mark.parametrize(
    ("subject", "may"),
    [
        ("_INBOX.abc.1", True),
        ("result.acme.shop.7", True),
        ("result.other.shop", False),
        ("result.acme", False),
        ("result.acme.", False),
        ("result.acme..x", False),
        ("result.acme.*", False),
        ("result.acme.>", False),
        ("_INBOX.", False),
        ("_INBOX.a b", False),
        ("_INBOX.a\r\nPUB x", False),
        ("_INBOX." + "x" * 250, False),
        ("command.contact.delete.acme.k", False),
        ("$JS.API.STREAM.DELETE.EVENTS", False),
        ("", False),
    ],
)
def test_where_a_result_may_go(subject: str, may: bool) -> None:
    assert subjects.may_reply_to(subject, "acme") is may


def test_types_of_results() -> None:
    assert subjects.result("command.contact.create") == "result.contact.create"
    assert subjects.result("webhook.whatsapp") == "result.webhook.whatsapp"
