"""A headless Chromium, driven without holding up the event loop."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from selenium import webdriver
from selenium.common.exceptions import ElementClickInterceptedException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains

from tests.eventually import eventually

# Chromium does without what a container has not, and asks nothing of the network.
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--window-size=1280,900",
]
WITHIN = 30.0  # seconds that something on a page is waited for

# What a browser says of a server that is away, or has not begun or has ceased to take sockets.
_AWAY = re.compile(r"WebSocket connection to .* failed|ERR_CONNECTION")

T = TypeVar("T")


class NoBrowser(Exception):
    """There is none here; the message says how to get one."""


class Browser:
    """One process; ``open_page`` gives each test a tab of its own."""

    def __init__(self, driver: webdriver.Chrome, thread: ThreadPoolExecutor, downloads: Path) -> None:
        self.driver = driver
        self.downloads = downloads
        self._thread = thread

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Browser]:
        """Raises NoBrowser."""
        programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
        if None in programs:
            raise NoBrowser("no Chromium; on Debian: apt-get install chromium chromium-driver")
        chromium, chromedriver = programs
        with (
            tempfile.TemporaryDirectory(prefix="rollcall-chromium-", ignore_cleanup_errors=True) as directory,
            ThreadPoolExecutor(1) as thread,
        ):
            downloads = Path(directory) / "downloads"
            options = webdriver.ChromeOptions()
            options.binary_location = str(chromium)
            for flag in (*FLAGS, f"--user-data-dir={directory}/profile"):
                options.add_argument(flag)
            options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
            options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
            loop = asyncio.get_running_loop()
            driver = await loop.run_in_executor(
                thread, lambda: webdriver.Chrome(options, Service(chromedriver))
            )
            try:
                yield cls(driver, thread, downloads)
            finally:
                await loop.run_in_executor(thread, driver.quit)

    async def do(self, what: Callable[[webdriver.Chrome], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, what, self.driver)

    @asynccontextmanager
    async def open_page(self) -> AsyncIterator[Page]:
        """A new tab, in which nothing is kept of any other. In the end nothing may have gone wrong in it."""
        page = Page(self)
        before = await self.do(lambda driver: driver.current_window_handle)
        await self.do(lambda driver: driver.switch_to.new_window("tab"))
        try:
            yield page
            errors = await page.errors()
            assert not errors, errors
        finally:
            await self.do(lambda driver: driver.close())
            await self.do(lambda driver: driver.switch_to.window(before))


class Page:
    """``lost`` is set by who kills the server: that requests fail meanwhile is no error then."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.lost = False

    async def go(self, url: str) -> None:
        await self.browser.do(lambda driver: driver.get(url))

    async def reload(self) -> None:
        await self.browser.do(lambda driver: driver.refresh())

    async def address(self) -> str:
        return await self.browser.do(lambda driver: driver.current_url)

    async def run(self, script: str, *arguments: Any) -> Any:
        """What a function body returns in the page, a promise awaited; ``arguments`` are its ``arguments``."""
        return await self.browser.do(lambda driver: driver.execute_script(script, *arguments))

    async def emulate(self, **media: str) -> None:
        """prefers_color_scheme="dark" and the like."""
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
        await self.browser.do(
            lambda driver: driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        )

    async def click(self, css: str) -> None:
        """As soon as it stays where it is: rows that come meanwhile move what is below them."""
        await self.until(f"document.querySelector({css!r})?.checkVisibility()", f"{css} is shown")

        async def clicked() -> bool:
            try:
                await self.browser.do(lambda driver: driver.find_element("css selector", css).click())
            except (ElementClickInterceptedException, StaleElementReferenceException):
                return False
            return True

        await eventually(clicked, timeout=WITHIN, interval=0.05, what=f"{css} is clicked")

    async def type(self, css: str, text: str) -> None:
        """In the place of what the field holds."""
        await self.until(f"document.querySelector({css!r})?.checkVisibility()", f"{css} is shown")
        await self.run(
            "const field = document.querySelector(arguments[0]); field.focus(); field.select()", css
        )
        await self.paste(text)

    async def paste(self, text: str) -> None:
        """Into whatever has the focus, all at once."""
        await self.browser.do(lambda driver: driver.execute_cdp_cmd("Input.insertText", {"text": text}))

    async def press(self, *keys: str) -> None:
        """On whatever has the focus."""
        await self.browser.do(lambda driver: ActionChains(driver).send_keys(*keys).perform())

    async def resize(self, width: int, height: int) -> None:
        """As a phone of so many CSS pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": True}
        await self.browser.do(
            lambda driver: driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        )

    async def text(self, css: str) -> str:
        """As it is seen: nothing where it is hidden."""
        script = "const seen = document.querySelector(arguments[0]); return seen?.checkVisibility() ? seen.innerText : ''"
        found: str = await self.run(script, css)
        return found

    async def until(self, expression: str, what: str = "") -> Any:
        """Wait until a JavaScript expression is true; its value."""
        return await eventually(
            lambda: self.run(f"return {expression}"), timeout=WITHIN, interval=0.05, what=what or expression
        )

    async def errors(self) -> list[str]:
        """What the browser complained of since it was asked last; not that the server was away, where it was."""
        entries = await self.browser.do(lambda driver: driver.get_log("browser"))
        return [
            entry["message"]
            for entry in entries
            if entry["level"] in {"SEVERE", "WARNING"} and not (self.lost and _AWAY.search(entry["message"]))
        ]
