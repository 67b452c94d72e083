"""The CloudEvents 1.0 envelope of every message: parse what arrives, dump what leaves.

Structured mode is written and read; binary mode (``ce-`` headers on NATS, ``ce_`` on Kafka) is read. Whatever ``parse``
returns can be stored in Postgres and dumped again: no NUL, no lone surrogate, no nesting beyond ``MAX_DEPTH``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NoReturn
from urllib.parse import unquote_to_bytes

import orjson
import uuid_utils

from contracts.moments import moment

SPECVERSION = "1.0"
DATAVERSION = "1.0"
CONTENT_TYPE = "application/cloudevents+json"
FORM = "application/x-www-form-urlencoded"
MAX_ATTRIBUTE = 255  # characters
MAX_DEPTH = 128  # levels of data; below what the encoder manages, with room for what an answer puts around it

Reason = Literal["bad_envelope", "not_json", "unstorable"]

_NO_HEADERS: Mapping[str, str] = {}
_HALF = MAX_DEPTH // 2  # with no more of either bracket, nothing can be nested deeper
# An even run of backslashes before \u0000 is escaped backslashes and the NUL is real; an odd one makes it plain text.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")  # half of a pair, as UTF-8 would write it
_OPTIONAL = ("tenantid", "correlationid", "causationid", "actor", "traceparent")
_CHECKED = frozenset({"id", "source", "time", "subject", "dataversion", "datacontenttype", *_OPTIONAL})


class EnvelopeError(Exception):
    """A message that is no envelope; ``reason`` is the dead letter's."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail


@dataclass(slots=True)  # never changed; frozen would cost a tenth of parsing
class Envelope:
    """CloudEvents attributes and data. ``type`` is as it came, "" where there is none: of webhooks nobody looks at it.
    ``time`` is in UTC.

    ``data`` is parsed JSON, or a str where ``datacontenttype`` is a form's.
    """

    id: str
    source: str
    type: str = ""
    data: Any = None
    time: datetime | None = None
    tenantid: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    actor: str | None = None
    dataversion: str = DATAVERSION
    traceparent: str | None = None
    datacontenttype: str = "application/json"
    subject: str | None = None


def new_id() -> str:
    """A fresh UUIDv7, in text."""
    return str(uuid_utils.uuid7())


def parse(data: bytes, headers: Mapping[str, str] | None = None) -> Envelope:
    """The envelope of a message as the bus holds it. Raises EnvelopeError."""
    lowered = {name.lower(): value for name, value in headers.items()} if headers else _NO_HEADERS
    content_type = lowered.get("content-type", "").lower()
    if content_type.startswith("application/cloudevents"):
        if content_type.startswith("application/cloudevents-batch"):
            raise EnvelopeError(
                "bad_envelope", "Content-Type: batches are not read; publish one event a message"
            )
        return _structured(_loads(data))
    if is_form(content_type):
        if not _is_binary(lowered):
            raise EnvelopeError("bad_envelope", "ce-id: a form needs the envelope in ce- headers")
        return _binary(_form(data), lowered, content_type)
    if not data and _is_binary(lowered):
        return _binary(None, lowered, content_type)
    body = _loads(data)
    if type(body) is dict and "specversion" in body:
        return _structured(body)
    if _is_binary(lowered):
        return _binary(body, lowered, content_type)
    raise EnvelopeError("bad_envelope", "specversion: neither a structured CloudEvent nor ce- headers")


def dump(envelope: Envelope) -> bytes:
    """Structured JSON on one line. What is None or empty is left out."""
    fields: dict[str, Any] = {"specversion": SPECVERSION, "id": envelope.id, "source": envelope.source}
    if envelope.type:
        fields["type"] = envelope.type
    if envelope.time is not None:
        fields["time"] = envelope.time
    if envelope.subject is not None:
        fields["subject"] = envelope.subject
    for name in _OPTIONAL:
        value = getattr(envelope, name)
        if value is not None:
            fields[name] = value
    fields["dataversion"] = envelope.dataversion
    fields["datacontenttype"] = envelope.datacontenttype
    if envelope.data is not None:
        fields["data"] = envelope.data
    return orjson.dumps(fields, option=orjson.OPT_UTC_Z)


def is_form(content_type: str) -> bool:
    """Whether a content type, parameters included, is a form's."""
    return content_type.lower().startswith(FORM)


def _is_binary(headers: Mapping[str, str]) -> bool:
    return "ce-id" in headers or "ce_id" in headers


def _structured(body: Any) -> Envelope:
    if type(body) is not dict:
        raise EnvelopeError("bad_envelope", "body: a structured CloudEvent is a JSON object")
    if body.get("specversion", SPECVERSION) != SPECVERSION:
        raise EnvelopeError("bad_envelope", f"specversion: must be {SPECVERSION}")
    if body.get("data_base64") is not None:
        raise EnvelopeError(
            "bad_envelope", "data_base64: not read; put the payload into data, as JSON or a string"
        )
    content_type = body.get("datacontenttype") or "application/json"
    data = body.get("data")
    envelope = _envelope(body, data, content_type)
    if type(data) is str and is_form(content_type):
        _check_form(data)
    return envelope


def _binary(data: Any, headers: Mapping[str, str], content_type: str) -> Envelope:
    attributes: dict[str, Any] = {}
    for name, value in headers.items():
        if name.startswith("ce-"):
            attributes[name[3:]] = _percent_decoded(name, value) if "%" in value else value
        elif name.startswith("ce_"):
            attributes[name[3:]] = value
    for name, value in attributes.items():
        if "\x00" in value or not _encodable(value):
            raise EnvelopeError("unstorable", f"{name}: NUL or a lone surrogate")
    if attributes.get("specversion", SPECVERSION) != SPECVERSION:
        raise EnvelopeError("bad_envelope", f"specversion: must be {SPECVERSION}")
    return _envelope(
        attributes, data, content_type or attributes.get("datacontenttype") or "application/json"
    )


def _envelope(attributes: dict[str, Any], data: Any, content_type: str) -> Envelope:
    for name, value in attributes.items():
        # Most messages pass here alone: one check an attribute that is there, none for those that are not.
        if (type(value) is not str or len(value) > MAX_ATTRIBUTE) and name in _CHECKED and value is not None:
            if type(value) is not str:
                raise EnvelopeError("bad_envelope", f"{name}: must be a string")
            if name != "subject":
                raise EnvelopeError("bad_envelope", f"{name}: at most {MAX_ATTRIBUTE} characters")
    get = attributes.get
    identity, source, time, kind = get("id"), get("source"), get("time"), get("type")
    if not identity or not source or identity.isspace() or source.isspace():
        missing = "source" if identity and not identity.isspace() else "id"
        raise EnvelopeError("bad_envelope", f"{missing}: required, and must not be empty")
    return Envelope(
        identity,
        source,
        kind if type(kind) is str else "" if kind is None else repr(kind),
        data,
        None if time is None else _time(time),
        get("tenantid"),
        get("correlationid"),
        get("causationid"),
        get("actor"),
        get("dataversion") or DATAVERSION,
        get("traceparent"),
        content_type,
        get("subject"),
    )


def _time(value: str) -> datetime:
    try:
        return moment(value)
    except ValueError as error:
        raise EnvelopeError("bad_envelope", f"time: {error}") from None


def _loads(data: bytes) -> Any:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        _refuse(data, str(error))
    if b"\\u0000" in data and _NUL.search(data):
        raise EnvelopeError("unstorable", "body: a NUL character")
    if is_too_deep(data, value):
        raise EnvelopeError("not_json", f"body: nested deeper than {MAX_DEPTH} levels")
    return value


def is_too_deep(data: bytes, value: Any) -> bool:
    """Whether JSON and what it was read as is nested beyond ``MAX_DEPTH``."""
    return (data.count(b"{") > _HALF or data.count(b"[") > _HALF) and _deeper_than(value, MAX_DEPTH)


def _refuse(data: bytes, problem: str) -> NoReturn:
    """Tell well-formed JSON that holds a lone surrogate, which orjson refuses too, from no JSON."""
    if b"\\ud" in data or b"\\uD" in data:
        try:
            text = json.dumps(json.loads(data, parse_constant=_no_constant), ensure_ascii=False)
        except (ValueError, RecursionError):
            pass
        else:
            if not _encodable(text):
                raise EnvelopeError("unstorable", "body: a lone surrogate")
    raise EnvelopeError("not_json", f"body: {problem}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [
            child
            for node in level
            if type(node) is dict or type(node) is list
            for child in (node.values() if type(node) is dict else node)
        ]
        if not level:
            return False
    return True


def _form(data: bytes) -> str:
    """Bytes that are no UTF-8 cost a letter, never the message; so do escapes of such bytes, where the form is read."""
    _check_form(data)
    return data.decode(errors="replace")


def _check_form(form: str | bytes) -> None:
    raw = unquote_to_bytes(form)
    if b"\x00" in raw:
        raise EnvelopeError("unstorable", "body: a NUL character")
    if _SURROGATE.search(raw):
        raise EnvelopeError("unstorable", "body: a lone surrogate")


def _percent_decoded(name: str, value: str) -> str:
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeError:
        raise EnvelopeError("bad_envelope", f"{name}: percent-encoded text must be UTF-8") from None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
