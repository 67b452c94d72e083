"""Timeline events that are delivered, read, skipped and deleted, all of it more than once: what the traffic sends of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.model.build import Draft

# Expired, but not for so long that the relay's chores would take it away under the comparison.
YESTERDAY = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"


def chapters(
    say: Callable[..., Draft],
    some: Callable[[int], dict[str, Any]],
    who: dict[str, Any],
    nobody: dict[str, Any],
    further: Callable[[], str],
) -> list[Callable[[], list[Draft]]]:
    """What may happen to the notices of one contact: ``some`` names so many of its twelve, ``further`` makes a new title."""
    return [
        lambda: [say("timeline.mark_delivered", **some(4)), say("timeline.mark_delivered", **some(6))],
        lambda: [
            say("timeline.mark_read", **some(4), reader="client"),
            say("timeline.mark_delivered", **some(6), reader="agent"),
        ],
        lambda: [say("timeline.mark_delivered", **some(12), expired=True)],
        lambda: [
            say("timeline.delete", **some(2), reason="mistaken"),
            say("timeline.mark_read", **some(12)),
            say("timeline.delete", **some(3), contact=who),
        ],
        lambda: [
            say(
                "timeline.record_many",
                contact=who,
                events=[
                    notice(0, further()),
                    {**notice(0, "refused"), "category": "nonsense"},
                    {**notice(0, "of nobody"), "contact": nobody},
                    notice(1, further()),
                ],
            )
        ],
        lambda: [
            say("timeline.mark_read", **some(3), contact=nobody),
            say("contact.delete", contact=who, reason="gone"),
            say("timeline.record_many", contact=who, events=[notice(0, "too late")]),
            say("timeline.mark_read", **some(3), contact=who),
            say("contact.restore", contact=who, reason="back"),
        ],
    ]


def notice(n: int, title: str) -> dict[str, Any]:
    """Every other one is the client's, every third one expired a day ago."""
    fields = {"type": "notification_sent", "category": "notification", "title": title, "realtime": True}
    return {**fields, "visible_to_client": n % 2 == 0, **({"expires_at": YESTERDAY} if n % 3 == 2 else {})}


def with_ids(body: bytes, ids: Mapping[str, str]) -> bytes:
    if b'"@' in body:
        for title, event_id in ids.items():
            body = body.replace(f'"@{title}"'.encode(), f'"{event_id}"'.encode())
    return body
