"""The neutral webhook, provider ``message``: one message of any channel, as a service of one's own would send it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from contracts.commands.base import validation_errors
from contracts.envelope import Envelope
from contracts.fields import Moment, blank_is_absent, without_nulls
from contracts.reference import Channel
from contracts.webhooks.fields import IDENTIFIER_LIMIT, MESSAGE_ID_LIMIT, THREAD_LIMIT, is_person, name_of
from contracts.webhooks.items import Item, NamedIdentifier, NoPerson, PayloadError
from contracts.webhooks.naming import GENERAL, consent_of, dedupe_key, event_type, keyword_of


def _not_blank(text: str) -> str:
    stripped = text.strip()
    if not stripped:
        raise ValueError("must not be blank")
    return stripped


IdentifierText = Annotated[str, Field(max_length=IDENTIFIER_LIMIT), AfterValidator(_not_blank)]
Scope = Annotated[str | None, Field(max_length=IDENTIFIER_LIMIT)]
# Without the space around them, as commands and queries take them.
Thread = Annotated[
    Annotated[str, StringConstraints(strip_whitespace=True, max_length=THREAD_LIMIT)] | None,
    BeforeValidator(blank_is_absent),
]
MessageId = Annotated[
    Annotated[str, StringConstraints(strip_whitespace=True, max_length=MESSAGE_ID_LIMIT)] | None,
    BeforeValidator(blank_is_absent),
]


class FurtherIdentifier(BaseModel):
    """Another identifier of the same person."""

    model_config = ConfigDict(extra="forbid")

    channel: Channel
    identifier: IdentifierText
    scope: Scope = None


class NeutralMessage(BaseModel):
    """``from`` is the person's address, whichever way the message went."""

    model_config = ConfigDict(extra="forbid")

    channel: Channel
    direction: Literal["inbound", "outbound"] = "inbound"
    from_: IdentifierText = Field(alias="from")
    scope: Scope = None
    profile_name: str | None = None
    message_id: MessageId = None
    text: str | None = None
    occurred_at: Moment | None = None
    session_id: Thread = None
    thread_id: Thread = None
    identifiers: Annotated[list[FurtherIdentifier], Field(max_length=100)] = []

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, given: Any) -> Any:
        return without_nulls(cls, given)


def parse(envelope: Envelope) -> list[Item]:
    """The message, or nothing where its sender is no person; raises PayloadError naming the field that is wrong."""
    data = envelope.data
    if type(data) is not dict:
        raise PayloadError("data", "not an object")
    try:
        message = NeutralMessage.model_validate(data)
    except ValidationError as error:
        (first,) = validation_errors(error, most=1)
        raise PayloadError(first["field"], first["message"]) from None
    channel = message.channel
    if not is_person(channel, message.from_):
        return NoPerson()
    outbound = message.direction == "outbound"
    message_id = message.message_id or envelope.id
    # An envelope's id is unique only within its source. No channel has a colon, so that a message's id is as it came.
    key = (
        f"message:{channel}:{message_id}"
        if message.message_id
        else dedupe_key("envelope", envelope.source, envelope.id)
    )
    payload: dict[str, Any] = {
        "message_id": message_id,
        "direction": message.direction,
        "message_type": "text",
        "to" if outbound else "from": message.from_,
    }
    if message.text:
        payload["text"] = message.text
    own = NamedIdentifier(channel, message.from_, message.scope or "")
    further = (NamedIdentifier(one.channel, one.identifier, one.scope or "") for one in message.identifiers)
    return [
        Item(
            dedupe_key=key,
            kind="message",
            channel=channel,
            identifiers=tuple(dict.fromkeys((own, *further))),
            type=event_type(channel, "sent" if outbound else "received"),
            category=GENERAL,
            occurred_at=message.occurred_at,
            profile_name=name_of(message.profile_name),
            description=message.text or None,
            payload=payload,
            session_id=message.session_id,
            thread_id=message.thread_id,
            touches=True,
            consent=None if outbound else consent_of(keyword_of(message.text)),
        )
    ]
