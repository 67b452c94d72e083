"""Every metric that a worker shows on ``/metrics``, one declaration each.

Labels are bounded by the registry (streams, types, reasons, codes), so that no sender can grow them; the one that is
not, the tenant, goes through ``tenant_label``.
"""

from __future__ import annotations

from typing import NamedTuple

from prometheus_client import Counter, Gauge, Histogram

# Half a millisecond is a batch of one on a quick disk; ten seconds is a database that hangs.
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

TENANT_LABELS = 1000  # more tenants than this share the label OTHER
OTHER = "(other)"  # not a subject token, so it cannot be a tenant's name


class Described(NamedTuple):
    """A metric as an operator meets it; ``name`` is the exposed one."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


_described: list[Described] = []
_tenants: set[str] = set()


def _counter(name: str, text: str, *labels: str) -> Counter:
    _described.append(Described(f"{name}_total", "counter", labels, text))
    return Counter(name, text, labels)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    _described.append(Described(name, "gauge", labels, text))
    return Gauge(name, text, labels)


def _histogram(name: str, text: str, *labels: str) -> Histogram:
    _described.append(Described(name, "histogram", labels, text))
    return Histogram(name, text, labels, buckets=_SECONDS)


def describe() -> list[Described]:
    """Every metric of ours, in the order of declaration: what docs/metrics.md is made from."""
    return list(_described)


def tenant_label(tenant: str) -> str:
    """The tenant as a label value: its name for the first 1000 tenants this process meets, then "(other)"."""
    if tenant in _tenants:
        return tenant
    if len(_tenants) >= TENANT_LABELS:
        return OTHER
    _tenants.add(tenant)
    return tenant


# -- reading and applying

BATCHES = _counter("rollcall_batches", "Batches committed.", "stream")

MESSAGES = _counter(
    "rollcall_messages",
    "Messages by what became of them: applied, duplicate, rejected, dead. "
    "The reason is the code of a rejection or the reason of a dead letter, else empty.",
    "stream",
    "outcome",
    "reason",
)

IGNORED = _counter(
    "rollcall_ignored",
    "What was applied although there was nothing to do: no_items in a body, no_person (a body about a short code or an "
    "alphanumeric sender), unknown_person (an item that makes nobody).",
    "reason",
)

# Senders' faults: the breaker does not look at these.
UNDECODABLE = _counter(
    "rollcall_undecodable",
    "Messages that could not be decoded, by the tenant of their subject; '-' where the subject names none.",
    "stream",
    "tenant",
)

BATCH_SECONDS = _histogram(
    "rollcall_batch_seconds",
    "Duration of a batch by phase, in seconds; the phase 'total' is the whole of it.",
    "stream",
    "phase",
)

LAG_MESSAGES = _gauge(
    "rollcall_lag_messages",
    "Messages behind the committed positions of this instance; those of paused partitions are left out.",
    "stream",
)

LAG_SECONDS = _gauge(
    "rollcall_lag_seconds",
    "Age of the oldest message behind the committed positions, by the broker's clock; 0 when there is none.",
    "stream",
)

DEAD_LETTERS = _counter("rollcall_dead_letters", "Messages dead-lettered, by reason.", "stream", "reason")

RETRIES = _counter(
    "rollcall_retries",
    "Batches begun again, by reason: a lost race, a database or an Elasticsearch out of reach, an unknown commit.",
    "reason",
)

READER_RESTARTS = _counter(
    "rollcall_reader_restarts",
    "Times a reader dropped its buffer and began again at its cursor, by reason.",
    "stream",
    "reason",
)

BREAKER_OPEN = _gauge(
    "rollcall_breaker_open", "1 while the worker has stopped because its handlers fail, else 0.", "stream"
)

LEASES_OWNED = _gauge(
    "rollcall_leases_owned",
    "Leases this instance holds: partitions of a stream, shards of the relay.",
    "name",
)

# -- publishing

OUTBOX_ROWS = _gauge("rollcall_outbox_rows", "Outbox rows that wait to be published.")

OUTBOX_AGE_SECONDS = _gauge(
    "rollcall_outbox_age_seconds", "Age of the oldest outbox row that waits, in seconds; 0 without one."
)

PUBLISHED = _counter(
    "rollcall_published", "Messages the relay published, by kind: event, result, dead_letter.", "kind"
)

REPLIES_REFUSED = _counter(
    "rollcall_replies_refused",
    "Rollcall-Reply-To headers ignored because their subject is not one a sender may name.",
)

# -- the search index

SEARCH_DOCUMENTS = _counter(
    "rollcall_search_documents",
    "Documents of changed contacts by what became of them: indexed (also where the index had them already), refused.",
    "outcome",
)

SEARCH_LAG_SECONDS = _gauge(
    "rollcall_search_lag_seconds",
    "Age of the oldest event that no indexer has indexed, by the broker's clock; 0 without one.",
)

SEARCH_BULK_SECONDS = _histogram(
    "rollcall_search_bulk_seconds", "Duration of a bulk request of changed contacts, in seconds."
)

# -- queries

QUERIES = _counter(
    "rollcall_queries", "Queries answered; the code is that of the error, else 'ok'.", "name", "code"
)

SEARCHES = _counter("rollcall_searches", "Searches answered, by engine: elasticsearch, postgres.", "engine")

QUERY_SECONDS = _histogram("rollcall_query_seconds", "Duration of a query, in seconds.", "name")

# -- realtime

REALTIME_SOCKETS = _gauge("rollcall_realtime_sockets", "Open sockets, by role: agent, contact.", "role")

REALTIME_FRAMES = _counter(
    "rollcall_realtime_frames", "Frames put on their way to clients that are no events, by type.", "type"
)

REALTIME_EVENTS = _counter(
    "rollcall_realtime_events", "Frames of events written to clients, by type.", "type"
)

REALTIME_RESYNCS = _counter(
    "rollcall_realtime_resyncs", "Subscriptions that were told to refetch, by reason.", "reason"
)

REALTIME_CLOSES = _counter(
    "rollcall_realtime_closes",
    "Sockets that the worker closed, by code; those that clients close are not counted.",
    "code",
)

REALTIME_LAG_SECONDS = _histogram(
    "rollcall_realtime_lag_seconds",
    "From the bus' having an event to the worker's giving it to its sockets, in seconds; of the last of those read at once.",
)

REALTIME_MARKS_REFUSED = _counter(
    "rollcall_realtime_marks_refused",
    "Marks refused because too many of the same actor or tenant wait for the bus; the client is told.",
)

# -- the process

LOOP_LAG_SECONDS = _gauge("rollcall_loop_lag_seconds", "How late the event loop last woke up, in seconds.")
