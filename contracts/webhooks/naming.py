"""What a provider's happening is called, on a timeline and among those seen.

Also how far a delivery has come, and which words speak of consent.
"""

from __future__ import annotations

# Channels whose events carry the bare verb (sms_received); all others are chats (whatsapp_message_received).
_SHORT = frozenset({"sms", "email", "voice"})

GENERAL = "general"
TRACKING = "tracking"
SYSTEM = "system"

# How far a message has come; the highest rank seen of it is its status. What ends it outranks the rest.
STATUS_RANK: dict[str, int] = {
    "queued": 0,
    "accepted": 0,
    "scheduled": 0,
    "sending": 0,
    "sent": 1,
    "delivered": 2,
    "read": 3,
    "played": 4,
    "canceled": 5,
    "failed": 5,
}

# Whole bodies, casefolded. English as Twilio handles them on every number, French as its proxy does.
# Words that people also write in passing ("yes") grant nothing: the provider's own field must say so.
OPT_OUT_WORDS = frozenset(
    {"stop", "stopall", "stop all", "unsubscribe", "cancel", "end", "quit", "optout", "opt out", "revoke"}
    | {"arret", "arrett", "arrete", "arrêt"}
)
OPT_IN_WORDS = frozenset({"start", "unstop"})
_LONGEST_WORD = max(len(word) for word in OPT_OUT_WORDS | OPT_IN_WORDS) + 8  # room for space and a full stop


def event_type(channel: str, what: str) -> str:
    """The timeline event's type of ``what`` (received, sent, edited, deleted or a delivery status) on a channel."""
    return f"{channel}_{what}" if channel in _SHORT else f"{channel}_message_{what}"


def dedupe_key(*parts: str) -> str:
    """The parts with colons between; one within a part is escaped, so that no other parts have the same key."""
    return ":".join(part.replace("\\", "\\\\").replace(":", "\\:") for part in parts)


def status_rank(status: str) -> int:
    """The rank of a status; one that we do not know moves nothing forward."""
    return STATUS_RANK.get(status, 0)


def keyword_of(text: str | None) -> str | None:
    """The consent keyword that a whole body is, casefolded; None for any other text."""
    if text is None or len(text) > _LONGEST_WORD:
        return None
    word = " ".join(text.casefold().strip(" \t\r\n.!\"'").split())
    return word if word in OPT_OUT_WORDS or word in OPT_IN_WORDS else None


def consent_of(keyword: str | None) -> bool | None:
    """What a keyword says of consent: True granted, False revoked, None nothing."""
    if keyword is None:
        return None
    return keyword in OPT_IN_WORDS
