"""The page for everyone: axe-core finds no violation, in both themes, at a phone and a desktop, live, past and grey."""

from typing import Final, Literal

import msgspec
import pytest
from playwright.sync_api import expect

from tests.web.page_axe import CONTRAST_MIN, heat_contrasts, violations
from tests.web.page_browser import chromium
from tests.web.page_parts import PAST_DAY, universe
from tests.web.page_server import PageServer
from tests.web.page_states import FOUR_STATES, full_operation, past_day, worker_down

pytestmark = [pytest.mark.slow, pytest.mark.nightly]  # one case of axe is in test_web_page.py

Theme = Literal["light", "dark"]

SIZES: Final = {"phone": (360, 800), "desktop": (1280, 800)}
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")
UPDATES: Final = 10
TILES: Final = 400
COUNT_CHANGES: Final = """() => {
  window.made = 0;
  window.changes = 0;
  new MutationObserver((records) => {
    window.changes += records.length;
    for (const each of records) {
      window.made += [...each.addedNodes].filter((node) => node.nodeType === Node.ELEMENT_NODE).length;
    }
  }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
}"""
SITUATIONS: Final = ("night", "full", "down", "past", "grey", "order")


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def server():
    with PageServer({PAST_DAY: past_day()}).running() as found:
        yield found


@pytest.fixture
def page(browser):
    found = browser.new_page(bypass_csp=True)
    yield found
    found.close()


def bring_about(situation, page, server):
    """The page in a situation."""
    state = {"order": worker_down, "night": FOUR_STATES["night"], "down": worker_down}.get(situation, full_operation)()
    server.push(state)
    page.goto(server.address + (f"#{PAST_DAY}" if situation == "past" else ""))
    headline = past_day().headline if situation == "past" else state.headline
    expect(page.locator("#headline-text")).to_have_text(headline)
    if situation == "grey":
        server.silence()
        expect(page.locator("body")).to_have_attribute("data-feed", "stopped")
    if situation == "order":
        page.get_by_role("button", name="Silence process_fatal:track-b").click()
        expect(page.get_by_role("dialog")).to_be_visible()


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_axe_finds_no_violation(situation, size, theme, page, server):
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=theme)
    bring_about(situation, page, server)
    assert violations(page) == []


def test_axe_sees_a_violation_where_there_is_one(page, server):
    page.goto(server.address)
    page.evaluate("document.querySelector('#day').previousElementSibling.remove()")
    assert any(each.startswith("label:") for each in violations(page))


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("situation", ["full", "grey"])
def test_text_on_each_colour_of_the_heat_map_has_the_contrast_of_aa(situation, theme, page, server):
    page.emulate_media(color_scheme=theme)
    bring_about(situation, page, server)
    found = heat_contrasts(page)
    assert len(found) == 9
    assert {name: ratio for name, ratio in found.items() if ratio < CONTRAST_MIN} == {}


@pytest.mark.parametrize("situation", ["full", "down", "past"])
def test_nothing_scrolls_the_page_sideways(situation, page, server):
    bring_about(situation, page, server)
    wide = {}
    for width in (320, 360, 768, 1280, 2560, 3840):
        page.set_viewport_size({"width": width, "height": 800})
        wide[width] = page.evaluate("document.documentElement.scrollWidth") - width
    assert all(more <= 0 for more in wide.values()), wide


def test_an_update_of_400_tiles_and_41_slots_changes_texts_and_makes_no_element(page, server):
    """What an update costs, counted: a time would be the machine's."""
    page.set_viewport_size({"width": 1280, "height": 1400})
    bring_about("full", page, server)
    page.evaluate(COUNT_CHANGES)
    for order in range(UPDATES):
        name = f"state {order}"
        server.push(changed(full_operation(), order, name))
        expect(page.locator("#head-instance")).to_have_text(name)
    made, changes = page.evaluate("() => [window.made, window.changes]")
    assert made == 0
    assert TILES < changes / UPDATES < 5 * TILES, changes / UPDATES


def changed(state, order, name):
    """The state with other prices, changes and figures, and a name to wait for."""
    moved = [
        msgspec.structs.replace(
            account,
            slots=[
                msgspec.structs.replace(
                    each, price=1_000.0 + order, prices=[*each.prices[:-1], (640.0, 1_000.0 + order)]
                )
                for each in account.slots
            ],
        )
        for account in state.board.accounts
    ]
    return msgspec.structs.replace(
        state,
        instance=name,
        board=msgspec.structs.replace(state.board, accounts=moved),
        universe=universe(shift=order / 7),
        now_ms=state.now_ms + 1000 * order,
    )
