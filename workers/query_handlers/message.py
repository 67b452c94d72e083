"""Queries about messages sent to contacts."""

from __future__ import annotations

from contracts.queries import MessageStatus
from storage.reads import messages
from storage.reads.session import TenantReads
from workers.query_handlers.answer import Answer, Refusal


async def status(reads: TenantReads, request: MessageStatus, _region: str | None) -> Answer:
    reached = await messages.status(reads, request.channel, request.message_id)
    if reached is None:
        raise Refusal("message_not_found", "no delivery status of such a message was seen")
    return Answer(reached, {})
