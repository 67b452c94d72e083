"""The results of messages that could not be decoded: to whom they go, and which message they name."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from contracts.subjects import HEADER_REPLY_TO
from workers.engine import replies
from workers.engine.record import Outcome, Record

INBOX = "_INBOX.a"
WHOLE = b'{"specversion": "1.0", "id": "m", "source": "s", "correlationid": "c", "data": {}}'
DEAD = Outcome("dead", code="x")


def record(
    body: bytes, subject: str = "webhook.message.acme.k", reply_to: str = INBOX, **headers: str
) -> Record:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    at = datetime(2026, 4, 1, tzinfo=UTC)
    return Record("WEBHOOK", 0, 1, subject, {HEADER_REPLY_TO: reply_to, **named}, body, at)


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (record(WHOLE), ("m", "c")),
        (record(WHOLE.replace(b', "correlationid": "c"', b"")), ("m", "m")),
        (record(b"{}", ce_id="m", ce_source="s", ce_correlationid="c"), ("m", "c")),
        (record(WHOLE.replace(b'"source": "s"', b'"time": "noon"')), ("m", "c")),
        (record(WHOLE.replace(b"{}", b'"\\ud800"')), ("m", "c")),
        (record(b'{"id": "m"}', Content_Type="application/cloudevents+json"), ("m", "m")),
        (record(b"{", CE_ID="m", ce_source="s"), ("m", "m")),
        (record(WHOLE.replace(b'"m"', b'"\\ud800"')), (None, "c")),
        (record(WHOLE.replace(b'"m"', b"5")), (None, "c")),
        (record(WHOLE.replace(b'"m"', b'" "')), (None, "c")),
        (record(WHOLE.replace(b'"m"', b'"%s"' % (b"m" * 256))), (None, "c")),
        (record(b"[" * 100_000), (None, None)),
        (record(b"\xff"), (None, None)),
    ],
)
def test_what_can_be_read_of_a_message_is_in_its_result(
    message: Record, named: tuple[str | None, str | None]
):
    reply = replies.of_record(message, DEAD)
    assert reply is not None
    told = orjson.loads(reply.payload)
    assert (told.get("causationid"), told.get("correlationid")) == named
    assert (told["type"], told["tenantid"]) == ("result.webhook.message", "acme")


@pytest.mark.parametrize(
    ("subject", "kind"),
    [
        ("webhook.message.*.k", "result.webhook.message"),
        ("webhook.message.k", "result.webhook.message"),
        ("webhook.message.-.k", "result.webhook.message"),
        ("webhook.*.acme.k", "result.webhook"),
        ("command.contact.create.a b.k", "result.contact.create"),
        ("command.contact", "result.contact"),
    ],
)
def test_a_subject_without_a_tenant_answers_to_inboxes_alone(subject: str, kind: str):
    reply = replies.of_record(record(WHOLE, subject), DEAD)
    assert reply is not None
    told = orjson.loads(reply.payload)
    assert (told["type"], told["causationid"], "tenantid" in told) == (kind, "m", False)
    for other in ("result.acme.x", "result.-.x", "result.*.x", "command.contact.delete.acme.k"):
        assert replies.of_record(record(WHOLE, subject, other), DEAD) is None


def test_results_of_a_tenant_are_its_own():
    assert replies.of_record(record(WHOLE, reply_to="result.acme.x"), DEAD) is not None
    assert replies.of_record(record(WHOLE, reply_to="result.globex.x"), DEAD) is None
