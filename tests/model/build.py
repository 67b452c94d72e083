"""Messages as a publisher writes them: subject, headers, body."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

STRUCTURED = {"Content-Type": "application/cloudevents+json"}


@dataclass(frozen=True)
class Draft:
    """A message that is yet to be published."""

    subject: str
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: dict(STRUCTURED))
    id: str | None = None  # the envelope's

    def with_headers(self, **more: str) -> Draft:
        return replace(self, headers={**self.headers, **more})


def envelope(type_: str, tenant: str, data: Any, **attributes: Any) -> tuple[str, bytes]:
    """The envelope's id and the structured body. An attribute that is None is left out."""
    fields = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "tests",
        "type": type_,
        "time": datetime.now(UTC).isoformat(),
        "tenantid": tenant,
        **attributes,
        "data": data,
    }
    fields = {name: value for name, value in fields.items() if value is not None}
    return str(fields.get("id")), json.dumps(fields).encode()


def webhook(provider: str, tenant: str, key: str, data: Any, **attributes: Any) -> Draft:
    id_, body = envelope(f"webhook.{provider}", tenant, data, **attributes)
    return Draft(f"webhook.{provider}.{tenant}.{key}", body, id=id_)


def command(name: str, tenant: str, key: str, data: Any, **attributes: Any) -> Draft:
    id_, body = envelope(f"command.{name}", tenant, data, **attributes)
    return Draft(f"command.{name}.{tenant}.{key}", body, id=id_)


def neutral(tenant: str, key: str, sender: str, *, channel: str = "sms", **fields: Any) -> Draft:
    """An inbound message of any channel; ``envelope_*`` go to the envelope."""
    attributes = {n.removeprefix("envelope_"): v for n, v in fields.items() if n.startswith("envelope_")}
    data = {n: v for n, v in fields.items() if not n.startswith("envelope_")}
    return webhook("message", tenant, key, {"channel": channel, "from": sender, **data}, **attributes)


def whatsapp(
    tenant: str,
    key: str,
    messages: list[dict[str, Any]] | None = None,
    statuses: list[dict[str, Any]] | None = None,
    names: dict[str, str] | None = None,
    **attributes: Any,
) -> Draft:
    """A raw Cloud API body with one change."""
    value: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550001111", "phone_number_id": "900000000000001"},
    }
    if names:
        value["contacts"] = [{"wa_id": wa_id, "profile": {"name": name}} for wa_id, name in names.items()]
    if messages:
        value["messages"] = messages
    if statuses:
        value["statuses"] = statuses
    body = {
        "object": "whatsapp_business_account",
        "entry": [{"id": "800000000000001", "changes": [{"field": "messages", "value": value}]}],
    }
    return webhook("whatsapp", tenant, key, body, **attributes)


def wa_text(sender: str, id_: str, at: int, text: str) -> dict[str, Any]:
    return {"from": sender, "id": id_, "timestamp": str(at), "type": "text", "text": {"body": text}}


def wa_status(recipient: str, id_: str, at: int, status: str) -> dict[str, Any]:
    return {"recipient_id": recipient, "id": id_, "timestamp": str(at), "status": status}
