"""The console without a mouse, without eyes for faint colours, and on a phone."""

from __future__ import annotations

from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from tests.console.screen import Screen
from tests.helpers.realm import Realm

# Every text that is seen, with its contrast to what is behind it (WCAG 2.2, relative luminance), where that is below AA.
FAINT = """
const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const rgba = (colour) => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
};
const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
const ground = (element) => {
  const own = rgba(getComputedStyle(element).backgroundColor);
  return own[3] === 1 || !element.parentElement ? own.slice(0, 3) : over(own, ground(element.parentElement));
};
const luminance = (colour) => {
  const [r, g, b] = colour.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (one, other) => {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
};
const faint = [];
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  const isHidden = element.closest('.hidden, .skip, svg, :disabled') || !element.checkVisibility();
  if (isHidden || !texts.currentNode.data.trim()) continue;
  const behind = ground(element);
  const ratio = contrast(over(rgba(getComputedStyle(element).color), behind), behind);
  if (ratio < 4.5) faint.push([texts.currentNode.data.trim().slice(0, 40), ratio]);
}
return faint;
"""
NAMED = {"button", "link", "searchbox", "image", "DisclosureTriangle"}


async def filled(screen: Screen, realm: Realm) -> None:
    """Sign in at a contact of whose events there is one of each category and priority."""
    tenant = realm.tenant()
    contact = await realm.contact(
        tenant, first_name="Ann", last_name="Weber", email="ann@example.com", tags=["vip"], status="inactive"
    )
    categories = ("general", "status", "pipeline", "assignment", "tag", "note", "session", "custom_field")
    for n, category in enumerate((*categories, "system", "notification", "tracking")):
        priority = ("low", "normal", "high", "urgent")[n % 4]
        fields = {
            "category": category,
            "priority": priority,
            "description": "What was said.",
            "payload": {"n": n},
        }
        await (realm.notify if n % 3 else realm.record)(tenant, contact, f"A {category}", **fields)
    await screen.sign_in(realm.agent(tenant), f"#contact={contact}")
    await screen.until_equal(tenant, contact)
    await screen.page.run(
        "document.querySelectorAll('details').forEach((details) => { details.open = true; })"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_stands_out(screen: Screen, realm: Realm, scheme: str):
    await screen.page.emulate(prefers_color_scheme=scheme)
    await screen.page.go(realm.http)
    await screen.until_out()
    assert await screen.page.run(FAINT) == []
    await filled(screen, realm)
    assert await screen.page.run(FAINT) == []


async def test_everything_has_a_name(screen: Screen, realm: Realm):
    await filled(screen, realm)
    tree = await screen.page.browser.do(
        lambda driver: driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})
    )
    nodes = [node for node in tree["nodes"] if not node["ignored"]]
    roles = {_value(node, "role") for node in nodes}
    assert {"banner", "main", "complementary", "navigation", "search", "list", "heading"} <= roles
    assert roles >= NAMED
    assert [node for node in nodes if _value(node, "role") in NAMED and not _value(node, "name")] == []


def _value(node: dict[str, Any], field: str) -> Any:
    return node.get(field, {}).get("value")


async def test_by_keyboard_alone(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant, first_name="Ann")
    await screen.page.go(realm.http)
    await screen.until_out()
    await screen.page.paste(realm.agent(tenant))
    await screen.page.press(Keys.ENTER)
    await screen.until_in()
    await screen.page.until("document.querySelector('#people a')", "the contacts are listed")
    await screen.page.run("document.getElementById('search-text').focus()")
    await screen.page.press(Keys.TAB, Keys.ENTER)
    await screen.until_equal(tenant, contact)
    assert await screen.page.run("return document.activeElement.id") == "contact-name"
    await screen.page.press(Keys.TAB, Keys.TAB, Keys.TAB, Keys.ENTER)
    await screen.page.until("document.querySelector('#timeline details').open", "the first row is opened")


async def test_on_a_phone(screen: Screen, realm: Realm):
    await screen.page.resize(360, 740)
    await filled(screen, realm)
    wide = "return document.documentElement.scrollWidth > innerWidth || document.getElementById('main').scrollWidth > innerWidth"
    assert not await screen.page.run(wide)
    assert not await screen.page.text("#contacts")
    await screen.page.click("#back")
    await screen.page.until("document.getElementById('contacts').checkVisibility()", "the contacts are shown")
    assert not await screen.page.text("#contact")
    assert not await screen.page.run(wide)
    await screen.page.click("#people a")
    await screen.page.until(
        "document.querySelectorAll('#timeline > li').length === 12", "the timeline is shown"
    )
