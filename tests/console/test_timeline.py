"""What the console shows is what contact.timeline answers, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from tests.console.screen import ROWS, Screen
from tests.eventually import eventually
from tests.helpers.browser import WITHIN
from tests.helpers.realm import Realm

EVIL = '<img src=x onerror="document.title=1">{}<script>document.title=2</script>"\'&amp;'


async def send(realm: Realm, tenant: str, command: str, *event_ids: uuid.UUID) -> None:
    result = await realm.client.send(command, tenant, {"event_ids": [str(i) for i in event_ids]}, timeout=20)
    assert result.status == "applied", result


async def test_a_contact_is_found(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    ann = await realm.contact(
        tenant, first_name="Ann", last_name="Müller", email="ann@example.com", phone="+4915112345678"
    )
    await realm.contact(tenant, first_name="Bob", last_name="Weber", email="bob@example.com")
    await screen.sign_in(realm.agent(tenant))
    await screen.search("", "Bob Weber", "Ann Müller")
    for text in ("muller", "ann@example.com", "+49 151 12345678", str(ann)):
        await screen.search(text, "Ann Müller")
    await screen.search("nobody of that name")
    assert await screen.page.text("#found") == "Nobody is found by that"
    await screen.search("ann", "Ann Müller")
    entry = await screen.page.text("#people a")
    assert all(fact in entry for fact in ("Ann Müller", "ann@example.com", "+4915112345678"))
    await screen.page.click("#people a")
    await screen.until_equal(tenant, ann)
    assert (await screen.page.address()).endswith(f"/#contact={ann}")
    assert await screen.page.run("return document.activeElement.id") == "contact-name"
    assert await screen.page.run("return document.querySelector('#people a').ariaCurrent") == "page"


async def test_pages_and_what_happens_meanwhile(screen: Screen, realm: Realm):
    """More than a page, times that are equal to the millisecond, and events of long ago that come now."""
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    times = [f"2026-01-01T10:00:00.{n % 7:06d}Z" for n in range(70)]
    await asyncio.gather(
        *(realm.record(tenant, contact, f"n{n}", occurred_at=at) for n, at in enumerate(times))
    )
    await screen.sign_in(realm.agent(tenant), f"#contact={contact}")
    await screen.page.until(f"{ROWS}.length === 50", "a page is shown")
    assert await screen.titles() == [
        event["title"] for event in (await realm.timeline(tenant, contact))[::-1][:50]
    ]
    await realm.record(tenant, contact, "now")
    await realm.record(tenant, contact, "long ago", occurred_at="2026-01-01T10:00:00.0000035Z")
    await screen.page.click("#older")
    await screen.until_equal(tenant, contact)
    assert not await screen.page.text("#older")


async def test_what_happens_does_not_move_what_is_read(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    await asyncio.gather(*(realm.record(tenant, contact, f"n{n}") for n in range(20)))
    await screen.sign_in(realm.agent(tenant), f"#contact={contact}")
    await screen.until_equal(tenant, contact)
    where = f"{ROWS}[12].getBoundingClientRect().top"
    await screen.page.run(f"document.getElementById('main').scrollTop = 500; window.row = {ROWS}[12]")
    top = await screen.page.run(f"return {where}")
    await realm.record(tenant, contact, "above")
    await screen.page.until(f"{ROWS}.length === 22", "it came")
    assert await screen.page.run("return window.row.getBoundingClientRect().top") == pytest.approx(top, abs=1)
    assert await screen.page.text("#contact-new") == "1 new event"
    await screen.page.click("#contact-new")
    await screen.page.until("document.getElementById('main').scrollTop === 0")
    await screen.page.until("document.getElementById('contact-new').hidden", "it was seen")


async def test_a_row_says_everything(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant, first_name="Ann")
    await realm.record(
        tenant,
        contact,
        "Payment failed",
        category="system",
        priority="urgent",
        description="The card was refused.",
        payload={"amount": 1200},
        metadata={"trace": "a1"},
        source="integration",
        integration_source="stripe",
        triggered_by="user:7",
    )
    await screen.sign_in(realm.agent(tenant), f"#contact={contact}")
    await screen.until_equal(tenant, contact)
    said = await screen.page.text("#timeline > li")
    assert all(
        word in said
        for word in (
            "Payment failed",
            "Urgent",
            "The card was refused.",
            "Integration",
            "user:7",
            "stripe",
            "just now",
        )
    )
    row = "document.querySelector('#timeline > li')"
    assert await screen.page.run(f"return {row}.querySelector('.icon').ariaLabel") == "System"
    assert "amount" not in said
    await screen.page.click("#timeline summary")
    opened = await screen.page.text("#timeline > li")
    assert all(word in opened for word in ('"amount": 1200', '"trace": "a1"'))


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
    await eventually(
        lambda: _is(screen, "document.querySelectorAll('#timeline > li:last-child[data-unread]').length", 0),
        timeout=WITHIN,
        what="the last row is read",
    )


async def test_expired_events_go(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    await screen.sign_in(realm.agent(tenant), f"#contact={contact}")
    await screen.until_equal(tenant, contact)
    at = await screen.page.run("return new Date(Date.now() + 1500).toISOString()")
    await realm.record(tenant, contact, "short", expires_at=at)
    await screen.page.until(f"{ROWS}.length === 2", "it came")
    await screen.page.until(f"{ROWS}.length === 1", "it went")


async def test_no_text_becomes_html(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    name = EVIL.format("name")[:100]
    contact = await realm.contact(tenant, first_name=name, tags=["<b>tag</b>"])
    await screen.sign_in(realm.agent(tenant), "#feed")
    await screen.page.until("document.body.dataset.shows === 'feed'")
    evil = {key: EVIL.format(key) for key in ("title", "description", "triggered_by")}
    await realm.record(
        tenant, contact, **evil, payload={EVIL.format("key"): EVIL.format("value")}, metadata={"a": EVIL}
    )
    await screen.page.until("document.querySelectorAll('#feed-events > li').length === 1", "it came")
    await screen.page.click("#feed-events .whose")
    await screen.until_equal(tenant, contact)
    await screen.page.click("#timeline summary")
    shown = await screen.page.text("#contact")
    for text in (name, "<b>tag</b>", *evil.values()):
        assert text in shown, text
    assert EVIL.format("value").replace('"', '\\"') in shown
    assert (
        await screen.page.run(
            "return document.querySelectorAll('main :is(img, script, b), aside img').length"
        )
        == 0
    )
    assert await screen.page.run("return document.title") == f"{name} - Rollcall"


async def test_a_contacts_client_has_its_own_timeline_alone(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    own, other = await realm.contact(tenant), await realm.contact(tenant, first_name="Other")
    await realm.record(tenant, own, "internal")
    await realm.notify(tenant, own, "waited")
    await screen.sign_in(realm.of_contact(tenant, own), f"#contact={other}")
    await screen.page.until(f"{ROWS}.length > 0", "a timeline is shown")
    await realm.notify(tenant, own, "live", metadata={"margin": 1}, triggered_by="user:7")
    await realm.notify(tenant, other, "of another")
    await screen.until_equal(tenant, own, "client")
    assert await screen.titles() == ["live", "waited"]
    await screen.page.until("!document.querySelector('#timeline > [data-unread]')", "all of it is read")
    seen = await realm.timeline(tenant, own, visible_to="client")
    assert all(event["delivered_at"] and event["read_at"] for event in seen)
    assert await screen.page.text("#contact-name") == "Your timeline"
    for hidden in ("#search", "#contacts", "#views", "#feed"):
        assert not await screen.page.text(hidden), hidden
    assert "margin" not in await screen.page.run("return document.documentElement.outerHTML")


async def test_an_agent_of_some_contacts(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    own = await realm.contact(tenant, first_name="Own")
    other = await realm.contact(tenant, first_name="Other", email="other@example.com")
    await screen.sign_in(realm.agent(tenant, own), f"#contact={other}")
    await screen.page.until("document.getElementById('contact-problem').checkVisibility()", "it is refused")
    assert "you may not see it" in await screen.page.text("#contact-problem")
    await screen.search("o", "Own")
    await screen.search("other@example.com")
    await screen.show(own)
    await screen.until_equal(tenant, own)


async def test_the_feed_of_the_tenant(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    ann, bob = await realm.contact(tenant, first_name="Ann"), await realm.contact(tenant, first_name="Bob")
    await screen.sign_in(realm.agent(tenant))
    rows = "[...document.querySelectorAll('#feed-events > li')]"
    said = (
        f"{rows}.map((row) => [row.querySelector('h3').textContent, row.querySelector('.whose').textContent])"
    )
    await screen.page.until("document.getElementById('feed').checkVisibility()")
    await realm.record(tenant, ann, "to Ann", occurred_at="2020-01-01T00:00:00Z")
    await realm.record(tenant, bob, "to Bob", occurred_at="2019-01-01T00:00:00Z")
    wanted = [["to Bob", "Bob"], ["to Ann", "Ann"]]
    await eventually(lambda: _is(screen, said, wanted), timeout=WITHIN, what="the feed")
    # What came is delivered; that it went by in a feed does not mean that somebody has read it.
    await eventually(lambda: _came(realm, tenant, bob), timeout=WITHIN, what="it is delivered")
    assert [event["read_at"] for event in await realm.timeline(tenant, bob)] == [None, None]
    await screen.page.click("#feed-events li:nth-child(2) .whose")
    await screen.until_equal(tenant, ann)
    # What happens while a contact is looked at is there when one comes back.
    await realm.record(tenant, bob, "again to Bob")
    await screen.page.click("#to-feed")
    await eventually(
        lambda: _is(screen, said, [["again to Bob", "Bob"], *wanted]), timeout=WITHIN, what="the feed"
    )


async def _came(realm: Realm, tenant: str, contact: uuid.UUID) -> bool:
    (event,) = [e for e in await realm.timeline(tenant, contact) if e["title"] == "to Bob"]
    return event["delivered_at"] is not None


async def _is(screen: Screen, expression: str, wanted: Any) -> bool:
    found = await screen.page.run(f"return {expression}")
    assert found == wanted
    return True


async def test_downloads(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    await realm.record(tenant, contact, "in the file")
    await screen.sign_in(realm.agent(tenant), f"#contact={contact}")
    await screen.until_equal(tenant, contact)
    for kind, begins in (("csv", "\ufeffid,".encode()), ("pdf", b"%PDF")):
        await screen.page.click(f"#{kind}")
        file = screen.page.browser.downloads / f"timeline-{contact}.{kind}"
        await eventually(lambda file=file: file.exists(), timeout=WITHIN, what=f"{file.name} is saved")  # type: ignore[misc]
        assert file.read_bytes().startswith(begins)
    assert b"in the file" in (screen.page.browser.downloads / f"timeline-{contact}.csv").read_bytes()
