"""A second chance for a dead letter."""

from __future__ import annotations

import asyncpg
import orjson

from contracts.envelope import parse
from contracts.results import Result
from contracts.subjects import HEADER_REPLAY, HEADER_REPLY_TO
from contracts.vocabulary import DeadLetterReason
from ops import reach
from storage.dead_letters import DeadLetter, mark_replayed

# What the broker acts on; repeated, it would refuse the message as one it has seen.
BROKERS = "nats-"


class NotReplayable(Exception):
    """A letter that is no message to us; says what to do instead."""


async def replay(connection: asyncpg.Connection, letter: DeadLetter, nats_url: str, timeout: float) -> Result:
    """Publish the original with ``Rollcall-Replay`` and wait for its result. Raises NotReplayable, TimeoutError, Unreachable.

    The result comes to us instead of to whom the original named: that inbox is long gone.
    """
    if letter.reason == DeadLetterReason.NOT_INDEXABLE:
        raise NotReplayable(
            "it is an event, which others have acted on already. Mend what its detail names, then run "
            f"`rollcall search audit --repair --tenant {letter.tenant}`"
        )
    client = await reach.bus(nats_url)
    try:
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        headers = {
            name: value for name, value in letter.headers.items() if not name.lower().startswith(BROKERS)
        }
        headers |= {HEADER_REPLAY: str(letter.id), HEADER_REPLY_TO: inbox}
        await client.jetstream().publish(letter.subject, letter.body, headers=headers)
        await mark_replayed(connection, [letter.id])
        answer = await answers.next_msg(timeout)
        return Result.model_validate(orjson.loads(orjson.dumps(parse(answer.data, answer.headers).data)))
    finally:
        await client.close()
