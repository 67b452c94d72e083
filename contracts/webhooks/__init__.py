"""Raw provider payloads -> neutral items. ``PROVIDERS`` is the one place that knows every provider."""

from __future__ import annotations

from collections.abc import Callable

from contracts.envelope import Envelope
from contracts.webhooks import message, twilio, whatsapp
from contracts.webhooks.items import Item, NamedIdentifier, PayloadError

PROVIDERS: dict[str, Callable[[Envelope], list[Item]]] = {
    "message": message.parse,
    "twilio": twilio.parse,
    "whatsapp": whatsapp.parse,
}

__all__ = ["PROVIDERS", "Item", "NamedIdentifier", "PayloadError"]
