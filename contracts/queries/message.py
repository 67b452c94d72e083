"""message.status."""

from __future__ import annotations

from typing import ClassVar

from contracts.fields import Text255
from contracts.queries.base import Query
from contracts.reference import Channel


class MessageStatus(Query):
    """How far a message that was sent has come: the highest status that was reported of it."""

    NAME: ClassVar[str] = "message.status"

    channel: Channel
    message_id: Text255
