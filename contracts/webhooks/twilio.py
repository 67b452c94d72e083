"""Twilio Programmable Messaging webhooks: inbound messages and the status callbacks of outbound ones.

The body is a form, or the same fields as a JSON object; every value is a string and no time is given. Voice calls
and Twilio's other products yield nothing. ``FromCity`` and its like speak of the number, not of the person.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from contracts.envelope import Envelope
from contracts.webhooks.fields import (
    MESSAGE_ID_LIMIT,
    identifier_of,
    is_channel,
    is_person,
    is_status,
    name_of,
    text_of,
)
from contracts.webhooks.items import Item, NamedIdentifier, NoPerson, PayloadError
from contracts.webhooks.naming import GENERAL, TRACKING, consent_of, dedupe_key, event_type, keyword_of

_SIDS = ("MessageSid", "SmsSid", "SmsMessageSid")
_INBOUND = frozenset({"received", "receiving"})
_FAILED = "undelivered"  # a failure by another name
_OPT_OUT_TYPES = {"STOP": False, "START": True, "HELP": None}
_PHONE_PREFIXES = frozenset({"", "sms", "mms", "tel"})
_MEDIA_LIMIT = 10  # what one message can hold
# Fields that are kept on the timeline, by the names that they have there.
_MESSAGE_DETAILS = {
    "MessagingServiceSid": "messaging_service_sid",
    "MessageType": "message_type",
    "ButtonText": "button_text",
    "ButtonPayload": "button_payload",
    "OriginalRepliedMessageSid": "reply_to",
    "Latitude": "latitude",
    "Longitude": "longitude",
    "Address": "address",
    "Label": "label",
    "ReferralSourceId": "referral_source_id",
    "ReferralSourceUrl": "referral_source_url",
    "ReferralHeadline": "referral_headline",
}
_STATUS_DETAILS = {
    "MessagingServiceSid": "messaging_service_sid",
    "ErrorCode": "error_code",
    "ErrorMessage": "error_message",
    "ChannelStatusMessage": "channel_status_message",
    "RawDlrDoneDate": "raw_dlr_done_date",  # YYMMDDhhmm in no zone: never a time of ours
}


def parse(envelope: Envelope) -> list[Item]:
    """The item of one body, if it is of a message; raises PayloadError for what Twilio cannot have sent."""
    fields = _fields(envelope.data)
    sid = next((sid for name in _SIDS if (sid := text_of(fields.get(name))) is not None), None)
    if sid is None:
        if text_of(fields.get("AccountSid")) is None and text_of(fields.get("CallSid")) is None:
            raise PayloadError("MessageSid", "missing")
        return []
    if len(sid) > MESSAGE_ID_LIMIT:
        raise PayloadError("MessageSid", f"longer than {MESSAGE_ID_LIMIT} characters")
    status = (text_of(fields.get("MessageStatus")) or text_of(fields.get("SmsStatus")) or "").lower()
    inbound = status in _INBOUND or not status
    return _message(fields, sid) if inbound else _status(fields, sid, status)


def _fields(data: Any) -> dict[str, Any]:
    if type(data) is str:
        # No database holds it; a JSON string that is a form comes here as the envelope found it.
        if "%00" in data:
            raise PayloadError("data", "a NUL character")
        # Lenient: an escape that is no UTF-8 costs a letter, never the message.
        return dict(parse_qsl(data, keep_blank_values=True))
    if type(data) is dict:
        return data
    raise PayloadError("data", "neither a form nor an object")


def _address(value: Any, field: str) -> tuple[str, str] | None:
    """Channel and bare address of ``whatsapp:+15551234567``; without a prefix it is a phone's."""
    text = identifier_of(value, field)
    if text is None:
        return None
    prefix, separator, rest = text.partition(":")
    channel = prefix.lower() if separator else ""
    address = rest.strip() if separator else text
    if channel in _PHONE_PREFIXES:
        channel = "sms"
    if not address or not is_channel(channel):
        return None
    return channel, address


def _message(fields: dict[str, Any], sid: str) -> list[Item]:
    sender = _address(fields.get("From"), "From")
    wa_id = identifier_of(fields.get("WaId"), "WaId")
    if sender is None and wa_id is not None:
        sender = ("whatsapp", wa_id)
    if sender is None:
        return []
    if not is_person(*sender):
        return NoPerson()
    channel, address = sender
    identifiers = [NamedIdentifier(channel, address)]
    if channel == "whatsapp" and wa_id is not None and wa_id != address.removeprefix("+"):
        identifiers.append(NamedIdentifier(channel, wa_id))
    body = fields.get("Body")
    text = body if type(body) is str and body else None
    payload: dict[str, Any] = {
        "message_id": sid,
        "direction": "inbound",
        "message_type": "text",
        "from": address,
    }
    if (recipient := _address(fields.get("To"), "To")) is not None:
        payload["to"] = recipient[1]
    if text is not None:
        payload["text"] = text
    if media := _media(fields):
        payload.update({"message_type": "media", "media": media})
    _add(fields, _MESSAGE_DETAILS, payload)
    keyword = keyword_of(text)
    consent = consent_of(keyword)
    opt_out_type = (text_of(fields.get("OptOutType")) or "").upper()
    if opt_out_type in _OPT_OUT_TYPES:
        # The provider's own word counts before ours: the keywords are its customer's to choose.
        consent = _OPT_OUT_TYPES[opt_out_type]
        payload["opt_out_type"] = opt_out_type
    item = Item(
        dedupe_key=dedupe_key("twilio", sid),
        kind="message",
        channel=channel,
        identifiers=tuple(identifiers),
        type=event_type(channel, "received"),
        category=GENERAL,
        profile_name=name_of(fields.get("ProfileName")),
        description=text,
        payload=payload,
        touches=True,
        consent=consent,
    )
    return [item]


def _media(fields: dict[str, Any]) -> list[dict[str, str]]:
    count = text_of(fields.get("NumMedia")) or "0"
    total = min(int(count), _MEDIA_LIMIT) if count.isascii() and count.isdigit() and len(count) < 4 else 0
    media = []
    for index in range(total):
        url = text_of(fields.get(f"MediaUrl{index}"))
        if url is not None:
            media.append({"url": url, "mime_type": text_of(fields.get(f"MediaContentType{index}")) or ""})
    return media


def _status(fields: dict[str, Any], sid: str, status: str) -> list[Item]:
    """What became of an outbound message: about the one it was sent to."""
    recipient = _address(fields.get("To"), "To")
    if recipient is None or not is_status(status):
        return []
    if not is_person(*recipient):
        return NoPerson()
    channel, address = recipient
    reached = "failed" if status == _FAILED else status
    payload: dict[str, Any] = {"message_id": sid, "status": reached, "to": address}
    if reached != status:
        payload["provider_status"] = status
    if (sender := _address(fields.get("From"), "From")) is not None:
        payload["from"] = sender[1]
    _add(fields, _STATUS_DETAILS, payload)
    item = Item(
        dedupe_key=dedupe_key("twilio", sid, status),
        kind="status",
        channel=channel,
        identifiers=(NamedIdentifier(channel, address),),
        type=event_type(channel, reached),
        category=TRACKING,
        payload=payload,
        message_id=sid,
        status=reached,
    )
    return [item]


def _add(fields: dict[str, Any], names: dict[str, str], payload: dict[str, Any]) -> None:
    for name, kept in names.items():
        if (value := text_of(fields.get(name))) is not None:
            payload[kept] = value
