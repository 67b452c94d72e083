"""What the console shows is what contact.timeline answers, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import asyncpg
import pytest

from tests.console.screen import ROWS, Screen
from tests.eventually import eventually
from tests.helpers.browser import WITHIN
from tests.helpers.realm import Realm

EVIL = '<img src=x onerror="document.title=1">{}<script>document.title=2</script>"\'&amp;'


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


async def test_the_address_of_a_merged_contact_leads_to_the_survivor(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    survivor, merged = await realm.contact(tenant), await realm.contact(tenant)
    owner = await asyncpg.connect(realm.stage.dsn)
    await owner.execute("update contacts set merged_into = $1 where id = $2", survivor, merged)
    await owner.close()
    await screen.sign_in(realm.agent(tenant), f"#contact={merged}")
    await screen.until_is("location.hash", f"#contact={survivor}")
    await realm.record(tenant, survivor, "of the survivor")
    await screen.page.until(f"{ROWS}.length === 3", "the timelines of both are shown")
    await screen.until_equal(tenant, survivor)


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

    async def read() -> bool:
        seen = await realm.timeline(tenant, own, visible_to="client")
        return all(event["delivered_at"] and event["read_at"] for event in seen)

    await eventually(read, timeout=WITHIN, interval=0.1, what="it was told of all of it")
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
    await screen.until_is(said, wanted)
    # What came is delivered; that it went by in a feed does not mean that somebody has read it.
    await eventually(lambda: _came(realm, tenant, bob), timeout=WITHIN, what="it is delivered")
    assert [event["read_at"] for event in await realm.timeline(tenant, bob)] == [None, None]
    await screen.page.click("#feed-events li:nth-child(2) .whose")
    await screen.until_equal(tenant, ann)
    # What happens while a contact is looked at is there when one comes back.
    await realm.record(tenant, bob, "again to Bob")
    await screen.page.click("#to-feed")
    await screen.until_is(said, [["again to Bob", "Bob"], *wanted])


async def _came(realm: Realm, tenant: str, contact: uuid.UUID) -> bool:
    (event,) = [e for e in await realm.timeline(tenant, contact) if e["title"] == "to Bob"]
    return event["delivered_at"] is not None


async def test_downloads(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    await realm.record(tenant, contact, "in the file")
    await screen.sign_in(realm.agent(tenant), f"#contact={contact}")
    await screen.until_equal(tenant, contact)
    for kind, begins, last in (("csv", "\ufeffid,".encode(), b"in the file"), ("pdf", b"%PDF", b"%%EOF")):
        await screen.page.click(f"#{kind}")
        file = screen.page.browser.downloads / f"timeline-{contact}.{kind}"

        def saved(
            file: Path = file, last: bytes = last
        ) -> bytes:  # the browser makes the file before it writes it
            content = file.read_bytes() if file.exists() else b""
            return content if last in content else b""

        content = await eventually(saved, timeout=WITHIN, what=f"{file.name} is saved")
        assert content.startswith(begins)
