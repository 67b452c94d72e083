"""Whatever is dumped is read again, in both modes; whatever is no envelope is refused for the right reason."""

from __future__ import annotations

import contextlib
import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import envelope
from contracts.envelope import CONTENT_TYPE, FORM, Envelope, EnvelopeError, dump, parse

# What Postgres can hold and JSON can carry: no NUL, no half of a pair.
CHARACTERS = st.characters(exclude_categories=("Cs",), exclude_characters="\x00")
TEXT = st.text(CHARACTERS, max_size=40)
NAME = st.text(CHARACTERS, min_size=1, max_size=40).filter(lambda text: not text.isspace())
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
TIME = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
ENVELOPES = st.builds(
    Envelope,
    id=NAME,
    source=NAME,
    type=TEXT,
    data=JSON,
    time=st.none() | TIME,
    tenantid=st.none() | TEXT,
    correlationid=st.none() | TEXT,
    causationid=st.none() | TEXT,
    actor=st.none() | TEXT,
    dataversion=st.sampled_from(["1.0", "1.7", "2.0"]),
    traceparent=st.none() | TEXT,
    subject=st.none() | TEXT,
)
FORMS = st.text(string.ascii_letters + string.digits + "=&+-_.~", max_size=60)
WHOLE = {"specversion": "1.0", "id": "1", "source": "s"}


def binary(written: Envelope, prefix: str = "ce-") -> tuple[bytes, dict[str, str]]:
    """As a sender in binary mode writes it; ``ce_`` on Kafka, where values are not percent-encoded."""
    headers = {f"{prefix}specversion": "1.0", "content-type": written.datacontenttype}
    for name in ("id", "source", "type", "subject", "dataversion", *envelope._OPTIONAL):
        value = getattr(written, name)
        if value:
            headers[prefix + name] = quote(value) if prefix == "ce-" else value
    if written.time is not None:
        headers[f"{prefix}time"] = written.time.isoformat()
    body = written.data.encode() if isinstance(written.data, str) else orjson.dumps(written.data)
    return body, headers


def present(written: Envelope) -> Envelope:
    """An attribute that is there and empty cannot be told from one that is absent, once in headers."""
    emptied = {name: getattr(written, name) or None for name in (*envelope._OPTIONAL, "subject")}
    return replace(written, **emptied)


def refused(body: bytes, headers: dict[str, str] | None = None) -> str:
    with pytest.raises(EnvelopeError) as caught:
        parse(body, headers)
    assert caught.value.detail
    return caught.value.reason


@given(ENVELOPES)
def test_structured(written: Envelope) -> None:
    assert parse(dump(written), {"Content-Type": CONTENT_TYPE}) == written
    assert parse(dump(written)) == written
    assert b"\n" not in dump(written)


@given(ENVELOPES, st.sampled_from(["ce-", "ce_", "CE-", "Ce_"]))
def test_binary(written: Envelope, prefix: str) -> None:
    written = present(replace(written, data={"x": written.data}))
    body, headers = binary(written, prefix.lower())
    shown = {prefix + name[3:] if name.startswith("ce") else name: value for name, value in headers.items()}
    assert parse(body, shown) == written


@given(ENVELOPES, FORMS)
def test_forms(written: Envelope, form: str) -> None:
    written = present(replace(written, data=form, datacontenttype=FORM))
    body, headers = binary(written)
    assert parse(body, headers) == written
    assert parse(dump(written)) == written


@given(ENVELOPES)
def test_what_was_read_can_be_dumped_again(written: Envelope) -> None:
    body, headers = binary(replace(present(written), data=[written.data]))
    once = parse(body, headers)
    assert parse(dump(once)) == once


@settings(max_examples=300)
@given(
    st.binary(max_size=200),
    st.dictionaries(
        st.sampled_from(["content-type", "ce-id", "ce-source", "ce-time", "ce_id", "ce_source"]),
        TEXT,
        max_size=4,
    ),
)
def test_nothing_else_is_ever_raised(body: bytes, headers: dict[str, str]) -> None:
    with contextlib.suppress(EnvelopeError):
        read = parse(body, headers)
        assert read.id
        assert read.source


@given(TIME, st.integers(-14 * 60, 14 * 60))
def test_times_come_back_in_utc(moment: datetime, minutes: int) -> None:
    there = moment.astimezone(timezone(timedelta(minutes=minutes)))
    read = parse(orjson.dumps({**WHOLE, "time": there.isoformat()}))
    assert read.time == moment
    assert read.time is not None
    assert read.time.utcoffset() == timedelta()


def test_defaults() -> None:
    assert parse(orjson.dumps(WHOLE)) == Envelope("1", "s")


def test_unknown_attributes_are_ignored() -> None:
    assert parse(orjson.dumps({**WHOLE, "partitionkey": "x", "nested": {"a": 1}})) == Envelope("1", "s")


def test_a_form_inside_a_structured_message_is_text() -> None:
    read = parse(orjson.dumps({**WHOLE, "datacontenttype": FORM, "data": "Body=Hi%21"}))
    assert read.data == "Body=Hi%21"


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"Body=caf%E9", "Body=caf%E9"),
        (b"Body=caf\xe9", "Body=caf\ufffd"),
        (b"Body=%ED%A0 in Latin-1", "Body=%ED%A0 in Latin-1"),  # no surrogate, for its third byte is none
        ("Body=caf\xe9".encode(), "Body=caf\xe9"),
    ],
)
def test_a_form_that_is_no_utf8_loses_a_letter_at_most(body: bytes, data: str) -> None:
    read = parse(body, {"Content-Type": FORM, "ce-id": "1", "ce-source": "s"})
    assert read.data == data
    structured = orjson.dumps({**WHOLE, "datacontenttype": FORM, "data": body.decode(errors="replace")})
    assert parse(structured).data == data
    assert dump(read)


@pytest.mark.parametrize(
    "change",
    [
        {"id": None},
        {"id": ""},
        {"id": "  "},
        {"id": 7},
        {"id": "x" * 256},
        {"source": None},
        {"source": ""},
        {"specversion": "0.3"},
        {"time": "yesterday"},
        {"time": "2026-02-30T00:00:00Z"},
        {"time": "2026-01-31T12:00:00"},
        {"time": 1_700_000_000},
        {"tenantid": ["acme"]},
        {"actor": "x" * 256},
        {"dataversion": 1},
    ],
)
def test_bad_attributes(change: dict[str, Any]) -> None:
    assert refused(orjson.dumps({**WHOLE, **change})) == "bad_envelope"


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b'{"hello": 1}', {}, "bad_envelope"),
        (b"[1]", {"Content-Type": CONTENT_TYPE}, "bad_envelope"),
        (b"[]", {"Content-Type": "application/cloudevents-batch+json"}, "bad_envelope"),
        (b"a=1", {"Content-Type": FORM}, "bad_envelope"),
        (b"{", {}, "not_json"),
        (b"", {}, "not_json"),
        (b"", {"Content-Type": CONTENT_TYPE}, "not_json"),
        (b"{", {"ce-id": "1", "ce-source": "s"}, "not_json"),
        (b"[" * 5000 + b"]" * 5000, {}, "not_json"),
        (b'{"specversion":"1.0","id":"1","source":"s","data":NaN}', {}, "not_json"),
        (b'{"specversion":"1.0","id":"1","source":"s","data":"\\u0000"}', {}, "unstorable"),
        (b'{"specversion":"1.0","id":"1","source":"s","data":"\\ud800"}', {}, "unstorable"),
        (b'{"specversion":"1.0","id":"1","source":"s","\\udfff":1}', {}, "unstorable"),
        (b"Body=%00", {"Content-Type": FORM, "ce-id": "1", "ce-source": "s"}, "unstorable"),
        (b"Body=\0", {"Content-Type": FORM, "ce-id": "1", "ce-source": "s"}, "unstorable"),
        (b"Body=\xed\xa0\x80", {"Content-Type": FORM, "ce-id": "1", "ce-source": "s"}, "unstorable"),
        (b"Body=%ED%A0%80", {"Content-Type": FORM, "ce-id": "1", "ce-source": "s"}, "unstorable"),
    ],
)
def test_what_is_no_envelope(body: bytes, headers: dict[str, str], reason: str) -> None:
    assert refused(body, headers) == reason


def test_an_escaped_backslash_before_u0000_is_only_text() -> None:
    read = parse(b'{"specversion":"1.0","id":"1","source":"s","data":"\\\\u0000"}')
    assert read.data == "\\u0000"


def test_ids_are_new_and_in_order() -> None:
    ids = [envelope.new_id() for _ in range(1000)]
    assert ids == sorted(set(ids))
