"""What every event model has. Readers' models: fields that are not listed are ignored, as readers are asked to do."""

from __future__ import annotations

import uuid
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict


class Event(BaseModel):
    """The ``data`` of an event."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    VERSION: ClassVar[str] = "1.0"


class ContactEvent(Event):
    """Of which contact, and the version that the change made it."""

    contact_id: uuid.UUID
    version: int


class Truncated(Event):
    """What is left of an event's data that the bus could not hold: enough to ask for the rest by id.

    Other fields of the event may be there still; those that were long are null or absent.
    """

    truncated: Literal[True]
    contact_id: uuid.UUID | None = None
    version: int | None = None
    id: uuid.UUID | None = None
