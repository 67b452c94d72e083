"""What a WhatsApp message holds: its text, and the parts of it that belong on a timeline."""

from __future__ import annotations

from typing import Any

from contracts.webhooks.fields import object_of, objects_of, text_of

_MEDIA = frozenset({"image", "video", "audio", "voice", "document", "sticker"})
_MEDIA_FIELDS = ("id", "mime_type", "sha256", "caption", "filename", "voice", "animated", "url")
_KEPT_WHOLE = frozenset({"reaction", "location", "order", "button", "interactive"})
_EMPTY = frozenset({"request_welcome", "edit", "revoke"})


def describe(message: dict[str, Any], kind: str, payload: dict[str, Any]) -> str | None:
    """Add the content of a message of type ``kind`` to its payload; returns its text or caption."""
    content = message.get(kind)
    if type(content) is not dict:
        content = {}
    text: Any = None
    if kind == "text":
        text = content.get("body")
    elif kind in _MEDIA:
        payload["media"] = {name: content[name] for name in _MEDIA_FIELDS if content.get(name) is not None}
        text = content.get("caption")
    elif kind in _KEPT_WHOLE:
        payload[kind] = content
        text = _answer(kind, content)
    elif kind == "contacts":
        # Cards of people who are no party to the conversation: that there were some, and nothing of them.
        payload["cards"] = len(objects_of(message.get("contacts")))
    elif kind not in _EMPTY:
        payload["subtype"] = "unsupported"
        payload["unsupported"] = text_of(content.get("type"))
    words: str | None = text if type(text) is str and text else None
    if words is not None:
        payload["text"] = words
    if (context := message.get("context")) is not None:
        _add_context(object_of(context), payload)
    if (referral := message.get("referral")) is not None:
        payload["referral"] = referral
    if (errors := message.get("errors")) is not None:
        payload["errors"] = errors_of(errors)
    return words


def errors_of(errors: Any) -> list[dict[str, Any]]:
    """Errors flattened to code, title, message and details."""
    flat = []
    for error in objects_of(errors):
        kept = {name: error[name] for name in ("code", "title", "message") if error.get(name) is not None}
        if (details := object_of(error.get("error_data")).get("details")) is not None:
            kept["details"] = details
        flat.append(kept)
    return flat


def _answer(kind: str, content: dict[str, Any]) -> Any:
    """The words behind a pressed button, a chosen row, a sent form or an order."""
    if kind == "interactive":
        reply = object_of(content.get(text_of(content.get("type")) or ""))
        return reply.get("title") or reply.get("body")
    return content.get("text")


def _add_context(context: dict[str, Any], payload: dict[str, Any]) -> None:
    if (replied := text_of(context.get("id"))) is not None:
        payload["reply_to"] = replied
    if context.get("forwarded") or context.get("frequently_forwarded"):
        payload["forwarded"] = True
