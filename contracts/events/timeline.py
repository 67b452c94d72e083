"""timeline.<category>: one timeline event, whose id is the envelope's."""

from __future__ import annotations

from typing import Any

from contracts.documents import TimelineDocument
from contracts.events.base import Event


class TimelineEvent(Event, TimelineDocument):
    """A timeline event, once it is committed. ``payload`` and ``metadata`` are null only where truncated."""

    metadata: dict[str, Any] | None
    triggered_by: str | None
    integration_source: str | None
