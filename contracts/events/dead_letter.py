"""deadletter.<stream>.<tenant>: the original's bytes as the body, its headers, and these."""

from __future__ import annotations

import uuid
from typing import Annotated

from pydantic import ConfigDict, Field, WithJsonSchema

from contracts.documents import Document
from contracts.fields import Moment
from contracts.vocabulary import DeadLetterReason

Number = Annotated[int, WithJsonSchema({"type": "string", "pattern": "^-?[0-9]+$"})]


class DeadLetter(Document):
    """The headers that say why, and where the original stood. Values are text, as headers are."""

    model_config = ConfigDict(extra="ignore", frozen=True, validate_by_name=True, validate_by_alias=True)

    id: uuid.UUID = Field(alias="Rollcall-Dead-Letter")
    reason: DeadLetterReason = Field(alias="Rollcall-Reason")
    detail: str = Field(alias="Rollcall-Detail")
    stream: str = Field(alias="Rollcall-Stream")
    subject: str = Field(alias="Rollcall-Subject", description="That the original was published on")
    partition: Number = Field(alias="Rollcall-Partition", description="-1: outside every partition")
    position: Number = Field(alias="Rollcall-Position")
    count: Number = Field(
        alias="Rollcall-Count", description="How often the message has died, replays included"
    )
    time: Moment = Field(alias="Rollcall-Time", description="When the broker took the original")
    truncated: Number | None = Field(
        default=None, alias="Rollcall-Truncated", description="Bytes of the whole body, where it was cut"
    )
