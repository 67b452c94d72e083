"""The subject grammar, the streams, and the keys that order messages. The only place that spells subjects.

As published, a subject carries no partition; the broker puts one in (``webhook.7.whatsapp.acme.k``) where the subject
matches the stream's transform. What does not match stays as it is: a stray, in no partition.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import re
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from contracts.reference import ContactReference

PARTITIONS: Final = 32
SHARDS: Final = 4  # of the relay
STRAY: Final = -1
NO_KEY: Final = "-"  # no order is needed beyond the tenant's
NO_TENANT: Final = "-"  # where a dead letter's subject named none: nobody is called so
TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

HEADER_REPLY_TO: Final = "Rollcall-Reply-To"
HEADER_REPLAY: Final = "Rollcall-Replay"
INBOX_PREFIX: Final = "_INBOX."
WAKE_RELAY: Final = "rollcall.wake.relay"  # core: a row was committed to the outbox; no body, may be lost


class SubjectError(ValueError):
    """A subject, or a token for one, that breaks the grammar."""


class Subject(NamedTuple):
    """A subject as published. ``type`` runs up to the tenant: "webhook.whatsapp", "command.contact.create"."""

    prefix: str
    type: str
    tenant: str
    key: str


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What a stream must be declared as. Sizes in bytes, ages in seconds; 0 is no limit.

    An inbound stream has ``tokens`` after its prefix when well published, and its transform puts the partition first;
    ``partitions`` is 0 for streams that are not partitioned.
    """

    name: str
    prefix: str
    subjects: tuple[str, ...]
    tokens: int = 0
    partitions: int = 0
    transform_source: str | None = None
    transform_destination: str | None = None
    stray_filters: tuple[str, ...] = ()
    max_bytes: int = 0
    max_message_bytes: int = 0
    max_age: int = 0
    discard_new: bool = False
    atomic: bool = False
    duplicate_window: int = 120

    def partition_filter(self, partition: int) -> str:
        """The filter subject of everything in one partition."""
        return f"{self.prefix}.{partition}" + ".*" * self.tokens

    def filters(self, partition: int) -> tuple[str, ...]:
        """The filter subjects of one partition, or of the strays."""
        return self.stray_filters if partition == STRAY else (self.partition_filter(partition),)


def _inbound(name: str, prefix: str, tokens: int) -> StreamSpec:
    """A partitioned stream: by tenant and key, the last two of the tokens after the prefix."""
    wildcards = ".".join(f"{{{{wildcard({n})}}}}" for n in range(1, tokens + 1))
    every = tuple(prefix + ".*" * count for count in range(1, tokens + 1))
    return StreamSpec(
        name=name,
        prefix=prefix,
        subjects=every,
        tokens=tokens,
        partitions=PARTITIONS,
        transform_source=every[-1],
        transform_destination=f"{prefix}.{{{{partition({PARTITIONS},{tokens - 1},{tokens})}}}}.{wildcards}",
        stray_filters=every,
        max_bytes=1 << 30,
        max_message_bytes=1_000_000,
        discard_new=True,
        atomic=True,  # so that a producer may publish many at once, all or none, and in order
    )


WEBHOOK: Final = _inbound("WEBHOOK", "webhook", 3)
COMMAND: Final = _inbound("COMMAND", "command", 4)
EVENTS: Final = StreamSpec(
    name="EVENTS",
    prefix="contact",
    subjects=("contact.>", "timeline.>", "relay.>"),
    max_bytes=2 << 30,
    max_age=7 * 24 * 3600,
    atomic=True,
)
DEADLETTER: Final = StreamSpec(
    name="DEADLETTER",
    prefix="deadletter",
    subjects=("deadletter.>",),
    max_bytes=1 << 28,
)
STREAMS: Final[Mapping[str, StreamSpec]] = {
    stream.name: stream for stream in (WEBHOOK, COMMAND, EVENTS, DEADLETTER)
}

# By prefix: how many tokens belong to the type, and whether a key follows the tenant.
_GRAMMAR: Final[Mapping[str, tuple[int, bool]]] = {
    "webhook": (2, True),
    "command": (3, True),
    "contact": (2, True),
    "timeline": (2, True),
    "deadletter": (2, False),
    "query": (3, False),
}


def webhook(provider: str, tenant: str, key: str = NO_KEY) -> str:
    return _checked("webhook", provider, _named(tenant), key)


def command(type: str, tenant: str, key: str = NO_KEY) -> str:  # noqa: A002 - the attribute's name
    """Of a command's type, "contact.create"."""
    return _checked("command", *_two(type), _named(tenant), key)


def event(type: str, tenant: str, contact_id: uuid.UUID | str) -> str:  # noqa: A002
    """Of an event's type, "contact.created" or "timeline.<category>"."""
    return _checked(*_two(type), _named(tenant), str(contact_id))


def dead_letter(stream: str, tenant: str = NO_TENANT) -> str:
    return _checked("deadletter", stream, tenant)


def query(name: str, tenant: str) -> str:
    """Of a query's name, "contact.get"."""
    return _checked("query", *_two(name), _named(tenant))


def relay_marker(shard: int) -> str:
    return f"relay.marker.{shard}"


def result(type: str) -> str:  # noqa: A002
    """The type of a message's result: "result.contact.create" of a command, "result.webhook.<provider>" of a webhook."""
    return "result." + type.removeprefix("command.")


def may_reply_to(subject: str, tenant: str | None) -> bool:
    """Whether a result may be published there: an inbox, or the tenant's own results; never with a wildcard.

    Where the message's subject names no tenant (None) it may be an inbox only.
    """
    allowed = (INBOX_PREFIX,) if tenant is None else (INBOX_PREFIX, f"result.{tenant}.")
    if not subject.startswith(allowed) or len(subject) > 255:
        return False
    tokens = subject.split(".")
    return (
        all(tokens)
        and not any(token in {"*", ">"} for token in tokens)
        and _PRINTABLE.fullmatch(subject) is not None
    )


@functools.lru_cache(maxsize=4096)  # the same people write again
def parse(subject: str) -> Subject:
    """A subject as published, taken apart; the key is ``-`` where the grammar has none. Raises SubjectError."""
    prefix, *rest = subject.split(".")
    if prefix not in _GRAMMAR:
        raise SubjectError(f"{subject}: no such prefix")
    type_tokens, keyed = _GRAMMAR[prefix]
    if len(rest) != type_tokens + keyed:
        raise SubjectError(f"{subject}: {len(rest) + 1} tokens instead of {type_tokens + keyed + 1}")
    for token in rest:
        if TOKEN.fullmatch(token) is None:
            raise SubjectError(f"{subject}: a token is not of [A-Za-z0-9_-], 1 to 64 characters")
    kind, tenant = ".".join((prefix, *rest[: type_tokens - 1])), rest[type_tokens - 1]
    if tenant == NO_TENANT and prefix != DEADLETTER.prefix:
        raise SubjectError(f"{subject}: - is no tenant")
    return Subject(prefix, kind, tenant, rest[type_tokens] if keyed else NO_KEY)


def type_of(subject: str) -> str:
    """The type of a subject, or as much of it as one that breaks the grammar has: "webhook.whatsapp" of
    ``webhook.whatsapp.*.k``, "webhook" of ``webhook``.
    """
    prefix, *rest = subject.split(".")
    named = rest[: _GRAMMAR[prefix][0] - 1] if prefix in _GRAMMAR else []
    return ".".join([prefix, *itertools.takewhile(TOKEN.fullmatch, named)])


def split_partition(subject: str) -> tuple[str, int]:
    """A subject as stored -> as published, and its partition; a stray stays as it is, with STRAY."""
    prefix, _, rest = subject.partition(".")
    tokens = _PARTITIONED.get(prefix)
    if tokens is not None and rest.count(".") == tokens:
        number, _, published = rest.partition(".")
        if number.isdecimal() and int(number) < PARTITIONS:
            return f"{prefix}.{published}", int(number)
    return subject, STRAY


def key_for(reference: ContactReference | Mapping[str, Any]) -> str:
    """The key of messages about a contact so named. Takes the model or its JSON."""
    if not isinstance(reference, ContactReference):
        reference = ContactReference.model_validate(reference)
    if reference.id is not None:
        return str(reference.id)
    if reference.external_id is not None:
        return _hashed(f"external_id:{reference.external_id}")
    return _hashed(f"{reference.channel}:{reference.scope or ''}:{reference.identifier}")


def shard_of(contact_id: uuid.UUID) -> int:
    """The relay's shard that a contact's events leave through."""
    return zlib.crc32(contact_id.bytes) % SHARDS


_PARTITIONED: Final = {spec.prefix: spec.tokens for spec in STREAMS.values() if spec.partitions}
_PRINTABLE: Final = re.compile(r"[!-~]+", re.ASCII)


def _hashed(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())[:22].decode()


def _two(type: str) -> tuple[str, str]:  # noqa: A002
    first, _, second = type.partition(".")
    return first, second


def _named(tenant: str) -> str:
    if tenant == NO_TENANT:
        raise SubjectError("'-' is no tenant")
    return tenant


def _checked(*tokens: str) -> str:
    for token in tokens:
        if TOKEN.fullmatch(token) is None:
            raise SubjectError(f"{token!r}: a subject's token is of [A-Za-z0-9_-], 1 to 64 characters")
    return ".".join(tokens)
