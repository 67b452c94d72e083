"""Applying a batch of decoded messages: load, fold each in order, persist. Both stream workers run through here."""

from __future__ import annotations

import traceback
import uuid
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import orjson

from ops.logging import get_logger
from storage import batch, dead_letters, inbox
from storage.batch import Wanted
from storage.inbox import SeenKey
from storage.outbox import OutboundEvent
from workers.engine.record import Applied, Message, Outcome
from workers.engine.replies import facts
from workers.fold import effects
from workers.fold.directory import Directory, Rejection, Scratch
from workers.fold.message import Opened

log = get_logger("workers.fold.apply")


class Foldable(Message, Protocol):
    """A decoded message of the contact domain."""

    @property
    def opened(self) -> Opened: ...

    def want(self, wanted: Wanted) -> None:
        """Say what the message refers to."""

    def fold(self, scratch: Scratch) -> Outcome:
        """Apply the message. Raises Rejection; any other exception is the handler's own failure."""


async def apply(connection: asyncpg.Connection, messages: Sequence[Foldable]) -> Applied:
    """Apply messages in the open transaction. Raises Restart."""
    wanted = Wanted()
    for message in messages:
        wanted.message_ids.add(message.opened.seen_key)
        if message.opened.replay_key is not None:
            wanted.message_ids.add(message.opened.replay_key)
        message.want(wanted)
    replays = await _replays(connection, messages)
    directory = Directory(await batch.load(connection, wanted))
    applied = fold(directory, messages, replays)
    await batch.persist(connection, directory.changes())
    return applied


async def bury(connection: asyncpg.Connection, message: Foldable, outcome: Outcome) -> Outcome:
    """Let a message that the database cannot apply take its id, like any other that its handler fails on.

    Where the id is taken already the message is a duplicate, and no further dead letter.
    """
    kept = orjson.dumps(facts(outcome)).decode()
    opened = message.opened
    first = await inbox.take(connection, opened.seen_key, kept)
    if first is not None and opened.replay_key and _died(first) and await _replays(connection, [message]):
        first = await inbox.take(connection, opened.replay_key, kept)
    return outcome if first is None else _repeated(orjson.loads(first))


def fold(
    directory: Directory, messages: Sequence[Foldable], replays: Collection[tuple[str, str]] = frozenset()
) -> Applied:
    """Fold messages, each in turn, over the directory. ``replays``: the dead letters that their headers may name. Pure."""
    applied = Applied([])
    for message in messages:
        key = message.opened.seen_key
        if message.opened.replay_key is not None:
            key = _key_of_replay(directory, message.opened, replays)
        applied.outcomes.append(_fold(directory, message, key, applied.events))
    return applied


def _key_of_replay(directory: Directory, opened: Opened, replays: Collection[tuple[str, str]]) -> SeenKey:
    """What lifts the id, once, is that the message died of a dead letter; a header that names none lifts nothing."""
    first = directory.first_outcome(opened.seen_key)
    lifted = first is not None and _died(first) and (opened.tenant, opened.replay_of) in replays
    return opened.replay_key if lifted and opened.replay_key is not None else opened.seen_key


def _died(outcome: str) -> bool:
    return bool(orjson.loads(outcome).get("status") == "dead")


async def _replays(connection: asyncpg.Connection, messages: Sequence[Foldable]) -> set[tuple[str, str]]:
    """Of the replays that the batch claims, those whose dead letter there is, of the same tenant."""
    claimed = [(m.tenant, m.opened.replay_of) for m in messages if m.opened.replay_of is not None]
    return await dead_letters.existing(connection, claimed) if claimed else set()


def _fold(directory: Directory, message: Foldable, seen_key: SeenKey, events: list[OutboundEvent]) -> Outcome:
    opened = message.opened
    first = directory.first_outcome(seen_key)
    if first is not None:
        return _repeated(orjson.loads(first))
    origin = opened.origin
    scratch = Scratch(directory, opened.tenant)
    try:
        outcome = message.fold(scratch)
        outbound = effects.settle(scratch, origin)
    except Rejection as rejection:
        outcome = Outcome(
            "rejected",
            contact_id=rejection.contact_id,
            code=rejection.code,
            message=rejection.message,
            details=rejection.details,
        )
        events.append(effects.rejected(origin, rejection))
    except Exception as error:  # noqa: BLE001 - whatever a handler raises is one message's harm
        where = _where(error)
        log.error(
            "handler_failed",
            operation=opened.kind,
            tenant=opened.tenant,
            correlation_id=origin.correlation_id,
            error=where,
        )
        outcome = Outcome("dead", code="handler_failed", message=where)
    else:
        if outcome.contact_id is not None:
            draft = scratch.drafts.get(outcome.contact_id)
            outcome.version = scratch.contact(outcome.contact_id).version
            outcome.created = draft is not None and draft.before is None
        directory.adopt(scratch)
        events += outbound
    directory.taken[seen_key] = orjson.dumps(facts(outcome)).decode()
    return outcome


def _where(error: Exception) -> str:
    """The exception's type and place. Its text may quote the message, so it is left out."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"


def _repeated(first: dict[str, Any]) -> Outcome:
    contact_id = first.get("contact_id")
    return Outcome(
        "duplicate",
        contact_id=uuid.UUID(contact_id) if contact_id else None,
        version=first.get("version"),
        first=first,
    )
