"""timeline.get."""

from __future__ import annotations

import uuid
from typing import ClassVar

from contracts.queries.base import Query


class TimelineGet(Query):
    """One timeline event."""

    NAME: ClassVar[str] = "timeline.get"

    event_id: uuid.UUID
