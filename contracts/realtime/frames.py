"""What the realtime worker sends over the WebSocket. Readers ignore types and fields that they do not know."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field

from contracts.documents import Document, TimelineDocument
from contracts.fields import Moment
from contracts.queries.base import Failure
from contracts.vocabulary import FrameError, GoodbyeReason, ResyncReason, Role


class ServerFrame(Document):
    type: str


class Ready(ServerFrame):
    """The client is known. The socket closes at ``expires_at``. ``heartbeat_s``: the server pings so often."""

    type: Literal["ready"] = "ready"
    session: str
    role: Role
    expires_at: Moment
    heartbeat_s: float


class Subscribed(ServerFrame):
    """The subscription is there. Its frames follow what lies after ``cursor``."""

    type: Literal["subscribed"] = "subscribed"
    sub: str
    cursor: str


class EventFrame(ServerFrame):
    """A timeline event. A contact's client gets it without metadata, triggered_by and integration_source."""

    type: Literal["event"] = "event"
    sub: str
    cursor: str
    event: TimelineDocument


class Changed(ServerFrame):
    """Events of a contact that were marked or deleted since they were sent: their ids."""

    type: Literal["changed"] = "changed"
    sub: str
    cursor: str
    contact_id: uuid.UUID
    delivered: list[uuid.UUID]
    read: list[uuid.UUID]
    deleted: list[uuid.UUID]
    at: Moment


class ResultFrame(ServerFrame):
    """The answer of a query, as the queries give it: ``data`` and ``meta`` where ``success``, else ``error``."""

    type: Literal["result"] = "result"
    ref: str
    success: bool
    data: Any = None
    meta: dict[str, Any] | None = None
    error: Failure | None = None


class Resync(ServerFrame):
    """What lies before this frame was not sent, or not all of it: refetch by query. The subscription goes on."""

    type: Literal["resync"] = "resync"
    sub: str
    reason: ResyncReason


class ErrorFrame(ServerFrame):
    """A frame of the client's that is not carried out. ``ref`` is its ``ref`` or ``sub``, where it had one."""

    type: Literal["error"] = "error"
    code: FrameError
    message: str
    ref: str | None = None


class Pong(ServerFrame):
    """The answer of a ping."""

    type: Literal["pong"] = "pong"


class Goodbye(ServerFrame):
    """The last frame. Come back after so many milliseconds; to another instance, where there is one."""

    type: Literal["goodbye"] = "goodbye"
    reason: GoodbyeReason
    reconnect_after_ms: Annotated[int, Field(ge=0)]


def _type_of(frame: type[ServerFrame]) -> str:
    (name,) = get_args(frame.model_fields["type"].annotation)
    return str(name)


SERVER_FRAMES: Final[Mapping[str, type[ServerFrame]]] = {
    _type_of(frame): frame
    for frame in (
        Ready,
        Subscribed,
        EventFrame,
        Changed,
        ResultFrame,
        Resync,
        ErrorFrame,
        Pong,
        Goodbye,
    )
}
