"""The page in a real Chromium before its real server: what one sends, the other understands."""

import asyncio
from typing import Final

from playwright.async_api import async_playwright, expect

from bus.commands import Pin
from tests.folders import short_folder
from tests.web.page_browser import OPTIONS, program
from tests.web.running import DAY, filled, loaded, served, system

HEADLINE: Final = "#headline-text"


async def shows_state_day_and_order(page, running, found):
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text))
    await page.goto(f"http://127.0.0.1:{found.port}/")
    await expect(page.locator(HEADLINE)).to_have_text(found.live.state().headline)
    await expect(page.locator("#processes tbody")).to_contain_text("core-writer")
    await expect(page.locator("#universe .tiles .tile")).to_have_count(3)

    await page.get_by_label("Pin a line").fill("005930")
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Token").fill(found.token)
    await page.keyboard.press("Enter")
    await expect(dialog.get_by_role("status")).to_have_text("supervisor: it is done")
    assert Pin("005930") in running.orders
    await page.keyboard.press("Escape")

    await page.evaluate("day => { location.hash = day; }", DAY)
    await expect(page.locator("#head-time")).to_have_text("stored day")
    await expect(page.locator(HEADLINE)).to_contain_text(DAY)
    assert troubles == []


def test_the_page_shows_the_servers_state_and_days_and_its_orders_arrive():
    async def scenario():
        with short_folder() as folder:
            settings = filled(folder)
            async with system(settings) as running, served(settings) as found, async_playwright() as playwright:
                await loaded(found.live)
                browser = await playwright.chromium.launch(executable_path=program(), args=list(OPTIONS))
                try:
                    await shows_state_day_and_order(await browser.new_page(), running, found)
                finally:
                    await browser.close()

    program()  # skips without Chromium
    asyncio.run(scenario())
