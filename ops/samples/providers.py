"""Raw bodies as the providers send them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

BUSINESS_NUMBER = "15550783881"
SERVICE_NUMBER = "+15017122661"


def whatsapp_message(wa_id: str, name: str, message_id: str, text: str, at: datetime) -> dict[str, Any]:
    """A WhatsApp Cloud API webhook with one inbound text."""
    return _whatsapp(
        {
            "contacts": [{"profile": {"name": name}, "wa_id": wa_id}],
            "messages": [
                {
                    "from": wa_id,
                    "id": message_id,
                    "timestamp": str(int(at.timestamp())),
                    "type": "text",
                    "text": {"body": text},
                }
            ],
        }
    )


def whatsapp_status(wa_id: str, message_id: str, status: str, at: datetime) -> dict[str, Any]:
    """A WhatsApp Cloud API webhook about a message of ours: sent, delivered, read."""
    return _whatsapp(
        {
            "statuses": [
                {
                    "id": message_id,
                    "status": status,
                    "timestamp": str(int(at.timestamp())),
                    "recipient_id": wa_id,
                }
            ]
        }
    )


def _whatsapp(value: dict[str, Any]) -> dict[str, Any]:
    metadata = {"display_phone_number": BUSINESS_NUMBER, "phone_number_id": "106540352242922"}
    change = {"value": {"messaging_product": "whatsapp", "metadata": metadata, **value}, "field": "messages"}
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": "102290129340398", "changes": [change]}],
    }


def twilio_message(phone: str, message_sid: str, text: str) -> dict[str, str]:
    """The fields of a Twilio webhook for an inbound SMS."""
    return {
        "AccountSid": "AC00000000000000000000000000000000",
        "ApiVersion": "2010-04-01",
        "MessageSid": message_sid,
        "SmsMessageSid": message_sid,
        "SmsSid": message_sid,
        "SmsStatus": "received",
        "NumMedia": "0",
        "NumSegments": "1",
        "From": phone,
        "To": SERVICE_NUMBER,
        "Body": text,
    }


def twilio_status(phone: str, message_sid: str, status: str) -> dict[str, str]:
    """The fields of a Twilio callback about an SMS of ours."""
    return {
        "AccountSid": "AC00000000000000000000000000000000",
        "ApiVersion": "2010-04-01",
        "MessageSid": message_sid,
        "SmsSid": message_sid,
        "SmsStatus": status,
        "MessageStatus": status,
        "From": SERVICE_NUMBER,
        "To": phone,
    }


def form(fields: dict[str, str]) -> str:
    """As Twilio sends it by default."""
    return urlencode(fields)
