"""Results: what the sender of a message with ``Rollcall-Reply-To`` learns of it. Pure."""

from __future__ import annotations

from typing import Any

from contracts import envelope, subjects
from contracts.envelope import Envelope
from contracts.subjects import SubjectError
from storage.outbox import Reply
from workers.engine.record import Message, Outcome, Record

SOURCE = "rollcall"

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


def of_record(record: Record, tenant: str, outcome: Outcome) -> Reply | None:
    """The result of a message that could not be decoded; nobody knows its id."""
    reply_to = record.headers.get(subjects.HEADER_REPLY_TO)
    if reply_to is None or not subjects.may_reply_to(reply_to, tenant):
        return None
    try:
        kind = subjects.parse(record.subject).type
    except SubjectError:
        return None
    return _reply(reply_to, kind, tenant, outcome, None, None)


def _reply(
    subject: str, kind: str, tenant: str, outcome: Outcome, message_id: str | None, correlation_id: str | None
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
