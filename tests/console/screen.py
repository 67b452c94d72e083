"""The console, as a person uses it."""

from __future__ import annotations

import uuid
from typing import Any

from tests.eventually import eventually
from tests.helpers.browser import WITHIN, Page
from tests.helpers.realm import Realm

ROWS = "[...document.querySelectorAll('#timeline > li')]"


class Screen:
    def __init__(self, page: Page, realm: Realm) -> None:
        self.page = page
        self.realm = realm

    async def sign_in(self, token: str, place: str = "") -> None:
        """Paste a token, and wait until the console is there."""
        await self.page.go(f"{self.realm.http}/{place}")
        await self.page.type("#token", token)
        await self.page.click("#sign-in button")
        await self.until_in()

    async def until_in(self) -> None:
        await self.page.until("document.body.dataset.stage === 'in'", "somebody is signed in")
        await self.until_state("live")

    async def until_out(self) -> str:
        """Wait until nobody is signed in; the reason that is shown."""
        await self.page.until("document.body.dataset.stage === 'out'", "nobody is signed in")
        return await self.page.text("#reason")

    async def until_state(self, *states: str) -> None:
        await self.page.until(f"{list(states)}.includes(document.getElementById('state').dataset.state)")

    async def try_now(self) -> None:
        """Press the button that ends a wait, if there is one."""
        await self.page.run("document.getElementById('retry').click()")

    async def show(self, contact: uuid.UUID) -> None:
        """Open a contact by the address, as a link does, and wait for its timeline."""
        await self.page.run("location.hash = `contact=${arguments[0]}`", str(contact))
        await self.page.until(f"{ROWS}.length > 0", "a timeline is shown")

    async def search(self, text: str, *names: str) -> None:
        """Type, and wait until these are listed, in this order and no others."""
        await self.page.type("#search-text", text)
        shown = "[...document.querySelectorAll('#people .name')].map((name) => name.textContent)"
        await self.until_is(shown, list(names))

    async def until_is(self, expression: str, wanted: Any) -> None:
        """Wait until a JavaScript expression has this value."""

        async def equal() -> bool:
            assert await self.page.run(f"return {expression}") == wanted
            return True

        await eventually(equal, timeout=WITHIN, interval=0.05, what=expression)

    async def ids(self) -> list[str]:
        found: list[str] = await self.page.run(f"return {ROWS}.map((row) => row.dataset.id)")
        return found

    async def titles(self) -> list[str]:
        found: list[str] = await self.page.run(
            f"return {ROWS}.map((row) => row.querySelector('h3').textContent)"
        )
        return found

    async def unread(self) -> list[str]:
        found: list[str] = await self.page.run(
            f"return {ROWS}.filter((row) => row.matches('[data-unread]')).map((row) => row.dataset.id)"
        )
        return found

    async def until_equal(self, tenant: str, contact: uuid.UUID, visible_to: str = "agent") -> None:
        """Wait until the rows are what contact.timeline answers, in its order."""

        async def equal() -> bool:
            timeline = await self.realm.timeline(tenant, contact, visible_to=visible_to)
            wanted: list[Any] = [event["id"] for event in reversed(timeline)]
            assert await self.ids() == wanted
            return True

        await eventually(equal, timeout=WITHIN, interval=0.1, what="the rows are the timeline")
