"""Results: what the sender of a message with ``Rollcall-Reply-To`` learns of it. Pure."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from contracts import envelope, subjects
from contracts.envelope import Envelope, EnvelopeError
from contracts.subjects import SubjectError
from storage.outbox import Reply
from workers.engine.record import Message, Outcome, Record

SOURCE = "rollcall"  # of whatever the workers publish about a message

_FIELDS = ("status", "contact_id", "version", "created", "items", "code", "message", "details", "first")


def facts(outcome: Outcome) -> dict[str, Any]:
    """An outcome as it is kept and answered, in JSON's types: what does not apply is left out."""
    given = {name: value for name in _FIELDS if (value := getattr(outcome, name)) is not None}
    if outcome.contact_id is not None:
        given["contact_id"] = str(outcome.contact_id)
    return given


def of_message(message: Message, outcome: Outcome) -> Reply | None:
    """The result of a decoded message, if its sender waits for one."""
    if message.reply_to is None:
        return None
    return _reply(message.reply_to, message.kind, message.tenant, outcome, message.id, message.correlation_id)


def of_record(record: Record, outcome: Outcome) -> Reply | None:
    """The result of a message that could not be decoded. Where its subject names no tenant, only an inbox gets one."""
    reply_to = record.headers.get(subjects.HEADER_REPLY_TO)
    if reply_to is None:
        return None
    try:
        tenant = subjects.parse(record.subject).tenant
    except SubjectError:
        tenant = None
    if not subjects.may_reply_to(reply_to, tenant):
        return None
    return _reply(reply_to, subjects.type_of(record.subject), tenant, outcome, *_ids(record))


def _ids(record: Record) -> tuple[str | None, str | None]:
    """The id and the correlation id of a message that may be no envelope, as far as they can be read."""
    try:
        read = envelope.parse(record.data, record.headers)
    except EnvelopeError:
        pass
    else:
        return read.id, read.correlationid
    attributes: dict[str, Any] = {
        name.lower()[3:]: value for name, value in record.headers.items() if _is_attribute(name)
    }
    with contextlib.suppress(ValueError, RecursionError):
        body = json.loads(record.data)  # not orjson, which refuses half of a surrogate pair anywhere
        if isinstance(body, dict) and ("specversion" in body or not attributes):
            attributes = body
    return _readable(attributes.get("id")), _readable(attributes.get("correlationid"))


def _is_attribute(header: str) -> bool:
    return header.lower().startswith(("ce-", "ce_"))


def _readable(value: Any) -> str | None:
    """An id that an envelope can have, so that a result can repeat it."""
    if (
        isinstance(value, str)
        and value.strip()
        and len(value) <= envelope.MAX_ATTRIBUTE
        and value.isprintable()
    ):
        return value
    return None


def _reply(
    subject: str,
    kind: str,
    tenant: str | None,
    outcome: Outcome,
    message_id: str | None,
    correlation_id: str | None,
) -> Reply:
    result = Envelope(
        id=envelope.new_id(),
        source=SOURCE,
        type=subjects.result(kind),
        data=facts(outcome),
        tenantid=tenant,
        correlationid=correlation_id or message_id,
        causationid=message_id,
    )
    return Reply(subject, envelope.dump(result))
