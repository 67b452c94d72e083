"""The streams as ``contracts.subjects`` says they must be: declared, checked, adopted.

What makes a stream what it is (its subjects, its partitions, its storage) is ours; how large and how old it may grow is
the operator's once it is there, and is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from nats.aio.client import Client

from contracts.subjects import PARTITIONS, STRAY, STREAMS, StreamSpec
from storage import cursors
from storage.postgres import WRITER, connect
from storage.roles import Finding
from workers.jetstream import NO_STREAM, Refused, api, parse_time

DECLARE: Final = "run `rollcall streams`"
NANOSECONDS: Final = 1_000_000_000


class StreamsError(Exception):
    """A stream that cannot be made what it must be; says what to do."""


async def declare(client: Client, replicas: int = 1) -> list[str]:
    """Make the streams that are missing, mend the others; a line each. ``replicas`` is for those made now.

    Raises StreamsError, Refused and NoAnswer. Nothing is changed when any stream would have to be refused.
    """
    present = {name: await info(client, name) for name in STREAMS}
    for name, found in present.items():
        if found and (wrong := _immutable(STREAMS[name], found["config"])):
            raise StreamsError(f"{name}: {wrong}")
    lines = []
    for name, spec in STREAMS.items():
        found = present[name]
        if found is None:
            await api(client, f"STREAM.CREATE.{name}", created(spec, replicas))
            lines.append(f"{name}: made")
        elif differences := _differences(spec, found["config"]):
            await api(client, f"STREAM.UPDATE.{name}", found["config"] | _ours(spec))
            lines.append(f"{name}: mended ({', '.join(sorted(differences))})")
        else:
            lines.append(f"{name}: as it should be")
    return lines


async def check(client: Client) -> list[Finding]:
    """A finding a stream. Raises NoAnswer, and Refused for other reasons than a missing stream."""
    findings = []
    for name, spec in STREAMS.items():
        found = await info(client, name)
        if found is None:
            findings.append(Finding(name, ok=False, detail="missing", mend=DECLARE))
            continue
        config, state = found["config"], found["state"]
        detail = f"{state['messages']:,} messages, {state['bytes']:,} bytes"
        if wrong := _immutable(spec, config):
            findings.append(Finding(name, ok=False, detail=detail, mend=wrong))
        elif differences := _differences(spec, config):
            said = "; ".join(f"{key} is {config.get(key)!r}" for key in sorted(differences))
            findings.append(Finding(name, ok=False, detail=said, mend=DECLARE))
        elif unsafe := _unsafe(spec, config):
            findings.append(Finding(name, ok=False, detail=detail, mend=unsafe))
        else:
            findings.append(Finding(name, ok=True, detail=detail, mend=""))
    return findings


async def adopt(
    client: Client, dsn: str, names: Iterable[str] | None = None, *, at_end: bool = False
) -> list[str]:
    """Go on with streams that were made anew or lost their end: a line a stream.

    Their cursors go to the stream's beginning (what was applied before is known by its ids), or, ``at_end``, to its
    end: what is in it then is never applied. Streams that their cursors speak of are left alone.
    """
    lines = []
    connection = await connect(dsn, WRITER, "rollcall streams")
    try:
        for name in names or [spec.name for spec in STREAMS.values() if spec.partitions]:
            spec = STREAMS[name]
            found = await info(client, name)
            if found is None:
                raise StreamsError(f"{name}: missing; {DECLARE}")
            made, state = parse_time(found["created"]), found["state"]
            known = await cursors.load(connection, name)
            if all(c.stream_created == made and c.sequence <= state["last_seq"] for c in known.values()):
                lines.append(f"{name}: nothing to adopt")
                continue
            sequence = state["last_seq"] if at_end else max(state["first_seq"] - 1, 0)
            partitions = [*range(spec.partitions), STRAY]
            await cursors.adopt(connection, name, made, dict.fromkeys(partitions, sequence))
            lines.append(f"{name}: adopted, made {made:%Y-%m-%dT%H:%M:%SZ}, read from {sequence + 1}")
    finally:
        await connection.close()
    return lines


async def info(client: Client, name: str) -> dict[str, Any] | None:
    """What JetStream says of a stream; None when there is none."""
    try:
        return await api(client, f"STREAM.INFO.{name}")
    except Refused as refusal:
        if refusal.code == NO_STREAM:
            return None
        raise


def created(spec: StreamSpec, replicas: int = 1) -> dict[str, Any]:
    """The configuration that a stream is made with."""
    return {
        "name": spec.name,
        "retention": "limits",
        "num_replicas": replicas,
        "max_bytes": spec.max_bytes or -1,
        "max_msg_size": spec.max_message_bytes or -1,
        "max_age": spec.max_age * NANOSECONDS,
        "duplicate_window": spec.duplicate_window * NANOSECONDS,
        **_ours(spec),
    }


def _ours(spec: StreamSpec) -> dict[str, Any]:
    """What a stream must have, whatever else an operator gives it."""
    transform = {"src": spec.transform_source, "dest": spec.transform_destination}
    return {
        "subjects": list(spec.subjects),
        "storage": "file",
        "discard": "new" if spec.discard_new else "old",
        "allow_direct": True,
        **({"subject_transform": transform} if spec.partitions else {}),
        **({"allow_atomic": True} if spec.atomic else {}),
    }


def _differences(spec: StreamSpec, config: dict[str, Any]) -> set[str]:
    return {key for key, value in _ours(spec).items() if config.get(key) != value}


def _immutable(spec: StreamSpec, config: dict[str, Any]) -> str | None:
    """What cannot be mended in place, and what to do instead."""
    if config.get("storage") != "file":
        return "it is kept in memory; drain it, delete it, and " + DECLARE
    transform = config.get("subject_transform") or {}
    if transform.get("dest") == spec.transform_destination and transform.get("src") == spec.transform_source:
        return None
    partitions = re.search(r"partition\((\d+)", transform.get("dest", ""))
    return (
        f"it has {partitions[1] if partitions else 'no'} partitions by {transform.get('dest') or 'no transform'}, "
        f"this program needs {PARTITIONS if spec.partitions else 'none'} by {spec.transform_destination}. The partitions "
        "belong to a stream for good, or the order per key is lost: read it to its end with the program that it "
        f"belongs to, delete it, {DECLARE}, then `rollcall streams adopt`"
    )


def _unsafe(spec: StreamSpec, config: dict[str, Any]) -> str | None:
    """An operator's limit that breaks a promise."""
    if config.get("duplicate_window", 0) < 60 * NANOSECONDS:
        return "raise its duplicate_window to 2m: a producer's retry would be stored twice"
    if spec.discard_new and config.get("max_age"):
        return "set its max_age to 0: messages would go before they are read"
    if config.get("retention") != "limits":
        return "it must keep messages by limits, not by interest: delete it, and " + DECLARE
    return None
