"""What the sender of a message learns of it: the ``data`` of ``result.<noun>.<verb>``."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from pydantic import BaseModel

from contracts.vocabulary import OutcomeStatus


class ItemResult(BaseModel):
    """What became of one item of a webhook."""

    dedupe_key: str
    status: OutcomeStatus
    contact_id: uuid.UUID | None = None
    timeline_event_id: uuid.UUID | None = None


class EventResult(BaseModel):
    """What became of one event of timeline.record_many; the items are in the order of its ``events``."""

    status: Literal[OutcomeStatus.APPLIED, OutcomeStatus.REJECTED]
    contact_id: uuid.UUID | None = None
    timeline_event_id: uuid.UUID | None = None
    code: str | None = None
    message: str | None = None
    details: dict[str, Any] | None = None


class Result(BaseModel):
    """What became of a message. Fields that do not apply are left out; ``first`` is a duplicate's first outcome."""

    status: OutcomeStatus
    contact_id: uuid.UUID | None = None
    version: int | None = None
    created: bool | None = None
    items: list[ItemResult | EventResult] | None = None
    code: str | None = None
    message: str | None = None
    details: dict[str, Any] | None = None
    first: dict[str, Any] | None = None
