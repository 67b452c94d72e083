"""What a client sends over the WebSocket: JSON objects, told apart by ``type``. Fields that are not listed are ignored."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contracts.realtime.contacts import all_or

MOST_IDS: Final = 500  # of one ack or read
MOST_CONTACTS: Final = 1_000  # of one subscription
MOST_FRAME: Final = 64 * 1024  # bytes, of a frame as a whole

Name = Annotated[str, Field(min_length=1, max_length=64)]
Cursor = Annotated[str, Field(min_length=1, max_length=500)]
SomeContacts = Annotated[list[uuid.UUID], Field(min_length=1, max_length=MOST_CONTACTS)]
EventIds = Annotated[list[uuid.UUID], Field(min_length=1, max_length=MOST_IDS)]


class ClientFrame(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    type: str


class Auth(ClientFrame):
    """Who the client is: the first frame, within 5 s. A token, or a one-time ticket that one was exchanged for."""

    type: Literal["auth"] = "auth"
    token: Annotated[str, Field(min_length=1, max_length=MOST_FRAME)] | None = None
    ticket: Annotated[str, Field(min_length=1, max_length=200)] | None = None

    @model_validator(mode="after")
    def _says_one(self) -> Self:
        if (self.token is None) == (self.ticket is None):
            raise ValueError("give either token or ticket")
        return self


class Subscribe(ClientFrame):
    """Watch contacts. ``"*"`` is every contact that the token allows. ``sub`` is the client's own name for it.

    With the cursor of an earlier frame it begins after that one. Without, a contact's client begins with its undelivered
    events, and an agent with what happens from now on. A ``sub`` that is there already is replaced.
    """

    type: Literal["subscribe"] = "subscribe"
    sub: Name
    contacts: Annotated[Literal["*"] | SomeContacts, all_or(SomeContacts)]
    cursor: Cursor | None = None


class Unsubscribe(ClientFrame):
    """Watch no longer. Frames that are under way may still come."""

    type: Literal["unsubscribe"] = "unsubscribe"
    sub: Name


class Ack(ClientFrame):
    """The events have arrived: sets ``delivered_at``, once."""

    type: Literal["ack"] = "ack"
    ids: EventIds


class Read(ClientFrame):
    """A person has seen the events: sets ``read_at``, once."""

    type: Literal["read"] = "read"
    ids: EventIds


class Ask(ClientFrame):
    """A query with the session's rights; ``data`` is the query's request. The result comes with the same ``ref``."""

    type: Literal["query"] = "query"
    ref: Name
    name: Literal["contact.find", "contact.get", "contact.list", "contact.timeline"]
    data: dict[str, Any] = Field(default_factory=dict)


class Ping(ClientFrame):
    """Is anybody there? Answered by pong."""

    type: Literal["ping"] = "ping"


def _type_of(frame: type[ClientFrame]) -> str:
    (name,) = get_args(frame.model_fields["type"].annotation)
    return str(name)


CLIENT_FRAMES: Final[Mapping[str, type[ClientFrame]]] = {
    _type_of(frame): frame for frame in (Auth, Subscribe, Unsubscribe, Ack, Read, Ask, Ping)
}
