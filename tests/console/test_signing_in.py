"""Who gets into the console, and how: by a link that is good once, or with a token."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.console.screen import Screen
from tests.helpers.realm import Realm


async def link(realm: Realm, token: str, more: str = "") -> str:
    """An address with a ticket in it."""
    return f"{realm.http}/#ticket={await realm.ticket(token)}{more}"


async def test_a_link_is_good_once(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    given = await link(realm, realm.agent(tenant))
    await screen.page.go(given)
    await screen.until_in()
    assert await screen.page.address() == f"{realm.http}/"
    assert "ticket" not in await screen.page.run("return JSON.stringify(history.state) + document.referrer")
    assert await screen.page.text("#tenant") == tenant
    await screen.page.reload()
    await screen.until_in()
    await screen.page.go(given)
    assert "used before" in await screen.until_out()
    assert await screen.page.address() == f"{realm.http}/"
    # Who that was is forgotten: the link might have been somebody else's.
    await screen.page.reload()
    assert await screen.until_out() == ""
    assert all("401" in error for error in await screen.page.errors())


async def test_a_link_leads_to_a_contact_and_a_reload_stays_there(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant, first_name="Ann", last_name="Weber")
    await screen.page.go(await link(realm, realm.agent(tenant), f"&contact={contact}"))
    await screen.until_in()
    assert await screen.page.address() == f"{realm.http}/#contact={contact}"
    for _ in range(2):
        await screen.until_equal(tenant, contact)
        assert await screen.page.text("#contact-name") == "Ann Weber"
        await screen.page.reload()


async def test_the_token_stays_in_the_tab(screen: Screen, realm: Realm):
    token = realm.agent(realm.tenant())
    await screen.sign_in(token)
    kept = "return [Object.values(sessionStorage), localStorage.length, document.cookie]"
    assert await screen.page.run(kept) == [[token], 0, ""]
    assert token not in await screen.page.run("return document.documentElement.outerHTML")
    await screen.page.click("#sign-out")
    assert await screen.until_out() == "You have signed out."
    assert await screen.page.run(kept) == [[], 0, ""]


@pytest.mark.parametrize(("token", "said"), [("nonsense", "not one of ours"), ("expired", "expired")])
async def test_a_token_that_is_not_taken(screen: Screen, realm: Realm, token: str, said: str):
    if token == "expired":
        token = realm.agent(realm.tenant(), seconds=-1)
    await screen.page.go(realm.http)
    await screen.page.type("#token", token)
    await screen.page.click("#sign-in button")
    await screen.page.until("document.getElementById('reason').checkVisibility()", "a reason is given")
    assert said in await screen.until_out()


async def test_a_token_that_expires_ends_it(screen: Screen, realm: Realm):
    """And nothing that it let one see stays on the page."""
    tenant = realm.tenant()
    contact = await realm.contact(tenant, first_name="A secret", email="secret@example.com", tags=["secret"])
    await screen.sign_in(realm.agent(tenant, seconds=12, sub="user:of-this-tenant"))
    await screen.search("", "A secret")
    await screen.show(contact)
    await realm.record(tenant, contact, "a secret of the tenant's")
    await screen.until_equal(tenant, contact)
    assert await screen.until_out() == "Signed out: the token has expired."
    left = await screen.page.run("return document.documentElement.outerHTML")
    assert [word for word in ("secret", tenant, str(contact), "of-this-tenant") if word in left.lower()] == []


async def test_where_nobody_can_sign_a_ticket_is_good_for_one_socket(
    screen: Screen, realm: Realm, tmp_path: Path
):
    here = realm.http
    worker = await realm.without_secret(tmp_path)
    ticket = await realm.ticket(realm.agent(realm.tenant()), here)
    await screen.page.go(f"{worker.http}/#ticket={ticket}")
    await screen.until_in()
    assert await screen.page.run("return sessionStorage.length") == 0
    assert await screen.page.run("return document.getElementById('csv').disabled")
    screen.page.lost = True
    await realm.stage.crew.dismiss(worker)
    assert "good for one connection" in await screen.until_out()
    assert all("409" in error for error in await screen.page.errors())
