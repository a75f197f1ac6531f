"""The page for everyone: axe-core finds no violation, in both themes, at a phone and a desktop, live, past and grey."""

from typing import Final, Literal

import msgspec
import pytest
from playwright.sync_api import expect

from tests.waiting import DEADLINE_S
from tests.web.page_axe import CONTRAST_MIN, heat_contrasts, violations
from tests.web.page_browser import chromium
from tests.web.page_parts import PAST_DAY, universe
from tests.web.page_server import PageServer
from tests.web.page_states import FOUR_STATES, full_operation, past_day, worker_down

pytestmark = [pytest.mark.slow, pytest.mark.nightly]  # one case of axe is in test_web_page.py

Theme = Literal["light", "dark"]

SIZES: Final = {"phone": (360, 800), "desktop": (1280, 800)}
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")
BLOCKS: Final = 5
UPDATES: Final = 30
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
        expect(page.locator("body")).to_have_attribute("data-feed", "stopped", timeout=1_000 * DEADLINE_S)
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


def test_an_update_of_400_tiles_and_41_slots_costs_less_than_10_ms_of_scripts(page, server):
    """Measured by the browser, scripts of the test included. The best block counts: others share the cores."""
    page.set_viewport_size({"width": 1280, "height": 1400})
    bring_about("full", page, server)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def scripts_s():
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(each["value"] for each in metrics if each["name"] == "ScriptDuration"))

    blocks_s = []
    for block in range(BLOCKS):
        before_s = scripts_s()
        for order in range(UPDATES):
            name = f"state {block} {order}"
            server.push(changed(full_operation(), block * UPDATES + order, name))
            expect(page.locator("#head-instance")).to_have_text(name)
        blocks_s.append((scripts_s() - before_s) / UPDATES)
    assert min(blocks_s) < 0.010, blocks_s


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
