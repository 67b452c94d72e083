"""What every inbound message goes through before a worker looks at its data."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY

from contracts.subjects import HEADER_REPLY_TO
from workers.engine.record import Record, Undecodable
from workers.fold.message import open_record

WHOLE = b'{"specversion": "1.0", "id": "m", "source": "s", "data": {}}'


def refused() -> float:
    return REGISTRY.get_sample_value("rollcall_replies_refused_total") or 0


@pytest.mark.parametrize(
    ("subject", "body", "reply_to", "counted"),
    [
        ("webhook.message.acme.k", WHOLE, "_INBOX.a", 0),
        ("webhook.message.acme.k", WHOLE, "result.acme.a", 0),
        ("webhook.message.acme.k", WHOLE, "result.globex.a", 1),
        ("webhook.message.acme.k", WHOLE, "webhook.message.acme.k", 1),
        ("webhook.message.acme.k", b"{", "result.globex.a", 1),
        ("webhook.message.*.k", WHOLE, "_INBOX.a", 0),
        ("webhook.message.*.k", WHOLE, "result.acme.a", 1),
    ],
)
def test_a_reply_that_may_not_be_published_is_counted(subject: str, body: bytes, reply_to: str, counted: int):
    before = refused()
    record = Record(
        "WEBHOOK", 0, 1, subject, {HEADER_REPLY_TO: reply_to}, body, datetime(2026, 4, 1, tzinfo=UTC)
    )
    try:
        opened = open_record(record, 1_000)
    except Undecodable:
        pass
    else:
        assert opened.reply_to == (None if counted else reply_to)
    assert refused() - before == counted


def test_what_is_published_for_no_tenant_is_nobodys():
    record = Record("WEBHOOK", 0, 1, "webhook.message.-.k", {}, WHOLE, datetime(2026, 4, 1, tzinfo=UTC))
    with pytest.raises(Undecodable, match="- is no tenant") as refusal:
        open_record(record, 1_000)
    assert refusal.value.tenant == "-"
