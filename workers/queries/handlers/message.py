"""Queries about messages sent to contacts."""

from __future__ import annotations

from contracts.queries import MessageStatus
from storage.reads import messages
from workers.queries.handlers.answer import Answer, Refusal
from workers.queries.handlers.context import Context


async def status(context: Context, request: MessageStatus) -> Answer:
    async with context.reads() as reads:
        reached = await messages.status(reads, request.channel, request.message_id)
    if reached is None:
        raise Refusal("message_not_found", "no delivery status of such a message was seen")
    return Answer(reached, {})
