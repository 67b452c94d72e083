"""What was delivered, what was read, what is there no more: on the page at once, and said by the page."""

from __future__ import annotations

import asyncio
import uuid

from tests.console.screen import ROWS, Screen
from tests.eventually import eventually
from tests.helpers.browser import WITHIN
from tests.helpers.realm import Realm


async def send(realm: Realm, tenant: str, command: str, *event_ids: uuid.UUID) -> None:
    result = await realm.client.send(command, tenant, {"event_ids": [str(i) for i in event_ids]}, timeout=20)
    assert result.status == "applied", result


async def test_marks_and_deletions(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    theirs = await realm.notify(tenant, contact, "for the client")
    gone = await realm.notify(tenant, contact, "to be deleted")
    await screen.sign_in(realm.agent(tenant), f"#contact={contact}")
    await screen.until_equal(tenant, contact)
    said = f"document.querySelector('[data-id=\"{theirs}\"] .delivery').textContent"
    assert await screen.page.run(f"return {said}") == "Not delivered yet"
    await send(realm, tenant, "timeline.mark_delivered", theirs)
    await screen.page.until(f"{said} === 'Delivered'")
    await send(realm, tenant, "timeline.mark_read", theirs)
    await screen.page.until(f"{said} === 'Read by the contact'")
    assert str(theirs) not in await screen.unread()
    assert str(gone) in await screen.unread()
    await send(realm, tenant, "timeline.delete", gone)
    await screen.page.until(f"!document.querySelector('[data-id=\"{gone}\"]')", "the row has gone")
    await screen.until_equal(tenant, contact)


async def test_what_was_on_screen_for_a_moment_is_read(screen: Screen, realm: Realm):
    """By the agent; of what the contact's client may see, that client's reading counts."""
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    await asyncio.gather(*(realm.record(tenant, contact, f"n{n}") for n in range(30)))
    await screen.sign_in(realm.agent(tenant), f"#contact={contact}")
    await screen.until_equal(tenant, contact)
    assert len(await screen.unread()) == 31
    live = await realm.record(tenant, contact, "live")
    theirs = await realm.notify(tenant, contact, "for the client")

    async def read() -> bool:
        events = {event["id"]: event for event in await realm.timeline(tenant, contact)}
        assert events[str(live)]["delivered_at"]
        assert events[str(live)]["read_at"]
        unread = {event_id for event_id, event in events.items() if event["read_at"] is None}
        assert set(await screen.unread()) == unread
        assert str(theirs) in unread
        assert (await screen.ids())[-10:] == [i for i in await screen.ids() if i in unread][-10:]
        return True

    await eventually(read, timeout=WITHIN, interval=0.1, what="what is seen is read")
    await screen.page.run("document.getElementById('main').scrollTop = 1e6")
    await screen.until_is("document.querySelectorAll('#timeline > li:last-child[data-unread]').length", 0)


async def test_expired_events_go(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    await screen.sign_in(realm.agent(tenant), f"#contact={contact}")
    await screen.until_equal(tenant, contact)
    at = await screen.page.run("return new Date(Date.now() + 5000).toISOString()")
    await realm.record(tenant, contact, "short", expires_at=at)
    await screen.page.until(f"{ROWS}.length === 2", "it came")
    await screen.page.until(f"{ROWS}.length === 1", "it went")
