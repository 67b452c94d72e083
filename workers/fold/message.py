"""What every inbound message goes through before a worker looks at its data: subject, size, envelope, tenant, time.

Pure. Raises ``Undecodable`` with a reason of docs/codes.md, "Dead letters".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from contracts import envelope as envelopes
from contracts import subjects
from contracts.envelope import Envelope, EnvelopeError
from contracts.subjects import SubjectError
from ops import metrics
from storage.inbox import SeenKey, digest
from workers.engine.record import Record, Undecodable
from workers.fold.outbound import Origin

AHEAD = timedelta(minutes=5)  # a sender's clock may be this much ahead of the broker's


@dataclass(slots=True)
class Opened:
    """A message whose envelope holds. The tenant is the subject's, never the body's."""

    record: Record
    envelope: Envelope
    tenant: str
    kind: str
    time: datetime
    reply_to: str | None
    replay_of: str | None  # the dead letter that this message says it is a replay of
    seen_key: SeenKey  # the id that the message takes
    replay_key: SeenKey | None  # what it takes instead where the dead letter has taken that already

    def no_later(self, at: datetime) -> datetime:
        """A sender's time, or the broker's where it is more than a little ahead of that."""
        return at if at <= self.record.time + AHEAD else self.record.time

    @property
    def origin(self) -> Origin:
        e = self.envelope
        return Origin(self.tenant, self.kind, e.id, self.time, e.correlationid, e.actor, e.traceparent)


@dataclass(slots=True)
class Decoded:
    """What the engine must know of a decoded message, of whichever stream."""

    opened: Opened

    @property
    def record(self) -> Record:
        return self.opened.record

    @property
    def tenant(self) -> str:
        return self.opened.tenant

    @property
    def id(self) -> str:
        return self.opened.envelope.id

    @property
    def kind(self) -> str:
        return self.opened.kind

    @property
    def correlation_id(self) -> str | None:
        return self.opened.envelope.correlationid

    @property
    def reply_to(self) -> str | None:
        return self.opened.reply_to


def open_record(record: Record, max_body: int) -> Opened:
    """Raises Undecodable."""
    try:
        subject = subjects.parse(record.subject)
    except SubjectError as error:
        _reply_to(record, None)
        raise Undecodable("bad_subject", str(error)) from None
    tenant = subject.tenant
    reply_to = _reply_to(record, tenant)
    if len(record.data) > max_body:
        raise Undecodable(
            "too_large", f"the body has {len(record.data)} bytes, at most {max_body} are taken", tenant
        )
    try:
        envelope = envelopes.parse(record.data, record.headers)
    except EnvelopeError as error:
        raise Undecodable(error.reason, error.detail, tenant) from None
    if envelope.tenantid is not None and envelope.tenantid != tenant:
        raise Undecodable("tenant_mismatch", "tenantid: differs from the subject's tenant", tenant)
    time = envelope.time
    if time is None or time > record.time + AHEAD:
        time = record.time
    replay_of = record.headers.get(subjects.HEADER_REPLAY)
    seen_key = SeenKey(tenant, digest("message", envelope.source, envelope.id))
    replay_key = (
        SeenKey(tenant, digest("message", envelope.source, envelope.id, replay_of)) if replay_of else None
    )
    return Opened(record, envelope, tenant, subject.type, time, reply_to, replay_of, seen_key, replay_key)


def _reply_to(record: Record, tenant: str | None) -> str | None:
    """Where the sender waits for the result. One that may not be published there is counted, and not sent."""
    reply_to = record.headers.get(subjects.HEADER_REPLY_TO)
    if reply_to is not None and not subjects.may_reply_to(reply_to, tenant):
        metrics.REPLIES_REFUSED.inc()
        return None
    return reply_to


def check_version(opened: Opened) -> None:
    """Raises Undecodable for a major version of the data that is not ours."""
    if opened.envelope.dataversion.partition(".")[0] != "1":
        raise Undecodable("unknown_version", "dataversion: this worker reads 1.x", opened.tenant)
