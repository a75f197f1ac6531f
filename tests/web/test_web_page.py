"""The page in a real Chromium: each part shows its figures, old figures look old, orders are confirmed and sent."""

import re
from contextlib import closing
from typing import Final

import msgspec
import pytest
from playwright.sync_api import expect

from observer.web.model import Alerts, Strip, Universe
from tests.web.page_browser import chromium
from tests.web.page_parts import DAY, NOW_MS, PAST_DAY, TEXTS, slot, universe
from tests.web.page_server import TOKEN, PageServer
from tests.web.page_states import FOUR_STATES, full_operation, past_day, worker_down

HOSTILE: Final = "<img src=x onerror=\"document.title='taken'\">"


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def server():
    with PageServer({PAST_DAY: past_day(), "2026-11-17": past_day()}).running() as found:
        yield found


@pytest.fixture(scope="module")
def tab(browser, server):
    """One tab for all tests, with the page."""
    found = browser.new_page(viewport={"width": 1280, "height": 1600})
    server.push(full_operation())
    found.goto(server.address)
    yield found
    found.close()


@pytest.fixture
def troubles(tab):
    """Errors of scripts, and what the content security policy refused; a test of the page has none."""
    found: list[str] = []

    def on_error(error):
        found.append(str(error))

    def on_console(message):
        if "Content Security Policy" in message.text:
            found.append(message.text)

    tab.on("pageerror", on_error)
    tab.on("console", on_console)
    yield found
    tab.remove_listener("pageerror", on_error)
    tab.remove_listener("console", on_console)


@pytest.fixture
def opened(tab, server, troubles):
    """The page, which shows full operation; without a token and without an open dialog."""
    server.refusal, server.refusal_status, server.is_losing_answers = None, 409, False
    server.forget_orders()
    tab.evaluate("() => { sessionStorage.clear(); document.getElementById('order').close(); location.hash = ''; }")
    shows(tab, server, full_operation())
    yield tab
    assert troubles == []


def shows(page, server, state):
    """Sends a state and waits until the page has it."""
    server.push(state)
    expect(page.locator("#headline-text")).to_have_text(state.headline)
    expect(page.locator("body")).to_have_attribute("data-feed", "live")


def text_of(page, part):
    return re.sub(r"\s+", " ", page.locator(f"#{part}").inner_text())


def test_each_part_shows_its_figures(opened):
    expected = {
        "timeline": ("Full operation", "09:00 to 15:30", "10:42"),
        "alerts": ("No alert is open.",),
        "processes": ("core-writer", "RUNNING", "31 %", "182 MiB", "200 ms", "all well"),
        "board": (
            "41 of 41 used",
            "17 candidates wait",
            "삼성전자",
            "volume_surge 4.80",
            "1.8K/min",
            "102 min",
            "0.2 s",
        ),
        "universe": ("2,583 lines", "the 400 largest shown", "SK하이닉스", "+1.9 %"),
        "premiums": ("KODEX 200", "+1.98 %", "10,000"),
        "gaps": ("6 recovered", "410 ms", "2.7 s", "삼성전자 005930"),
        "sweeps": ("75 sweeps", "2,583 of 2,583", "10:41:00"),
        "storage": ("842", "4.2 ms", "4,812,306", "35.6 GiB"),
        "tape": ("87.3 %", "1,911 of 2,583"),
        "backups": ("daily-20261120-170213", "2 d"),
        "listings": ("475150", "SK이터닉스우", "2026-11-20"),
    }
    missing = {part: [text for text in texts if text not in text_of(opened, part)] for part, texts in expected.items()}
    assert not any(missing.values()), missing


def test_each_part_shows_the_age_of_its_figures(opened):
    ages = dict(
        opened.eval_on_selector_all(".part", "parts => parts.map(p => [p.id, p.querySelector('.age').innerText])")
    )
    assert all(re.fullmatch(r"now|\d+ .*ago", age) for age in ages.values())
    assert re.fullmatch(r"2\d s ago", ages["universe"])
    assert ages["premiums"] == "1 h 04 min ago"


def test_a_worker_that_is_down_is_named_in_words_and_not_by_colour_alone(opened, server):
    shows(opened, server, worker_down())
    assert (opened.locator("#level-word").inner_text(), opened.title()) == ("Critical", "Critical · Observer")
    row = opened.locator("#processes tr", has_text="track-b")
    assert "FATAL" in row.inner_text()
    assert row.locator("use").get_attribute("href") == "#icon-critical"
    assert "2 need a look" in text_of(opened, "processes")
    assert "silenced until 12:00:00" in text_of(opened, "alerts")
    assert "not connected" in text_of(opened, "board")
    assert "63 listings removed, more than 50" in text_of(opened, "listings")


def test_alerts_of_one_name_are_all_shown(opened, server):
    first = worker_down().alerts.alerts[1]
    others = [{"process": "track-b", "text": "of another process"}, {"since": f"{DAY}T09:00:00+09:00", "text": "again"}]
    found = [first, first, *(msgspec.structs.replace(first, **each) for each in others)]
    shows(opened, server, msgspec.structs.replace(full_operation(), alerts=Alerts(known_ms=NOW_MS, alerts=found)))
    expect(opened.locator("#alerts .alert-text")).to_have_text([each.text for each in found])
    shows(opened, server, full_operation())
    expect(opened.locator("#alerts .alert-text")).to_have_count(0)


def test_a_part_without_figures_says_why(opened, server):
    shows(opened, server, FOUR_STATES["night"]())
    assert "The day's universe is built at 08:35." in text_of(opened, "universe")
    assert not opened.locator("#universe .heat").is_visible()


def test_a_universe_before_the_first_sweep_has_no_price_yet(opened, server):
    shows(opened, server, msgspec.structs.replace(full_operation(), universe=universe(0)))
    expect(opened.locator("#universe")).to_contain_text("2,583 lines, no price yet")


def test_a_part_that_fails_says_so_and_the_others_go_on(opened, server):
    state = full_operation()
    broken = msgspec.structs.replace(state.gaps, strips=None)  # as a server of another version may send it
    shows(opened, server, msgspec.structs.replace(worker_down(), gaps=broken))
    expect(opened.locator("#gaps .missing")).to_contain_text("The page cannot show these figures")
    assert not opened.locator("#gaps .body").is_visible()
    assert opened.locator("#gaps .age").inner_text() == ""
    assert "63 listings removed" in text_of(opened, "listings")  # drawn after the gaps
    shows(opened, server, state)
    expect(opened.locator("#gaps .missing")).to_be_hidden()
    assert "6 recovered" in text_of(opened, "gaps")


def test_a_name_from_outside_stays_text(opened, server):
    state = full_operation()
    first, second = state.board.accounts
    hostile = msgspec.structs.replace(
        state,
        headline="hostile " + HOSTILE,
        board=msgspec.structs.replace(
            state.board, accounts=[msgspec.structs.replace(first, slots=[slot(0, name=HOSTILE, line=HOSTILE)]), second]
        ),
        universe=Universe(
            known_ms=NOW_MS, lines=1, tiles=[msgspec.structs.replace(universe(1).tiles[0], name=HOSTILE)]
        ),
        gaps=msgspec.structs.replace(state.gaps, strips=[Strip(HOSTILE, HOSTILE, state.gaps.strips[0].spans)]),
    )
    shows(opened, server, hostile)
    assert opened.locator("img").count() == 0
    for part in ("board", "universe", "gaps"):
        assert "<img src=x" in text_of(opened, part)


def test_the_page_is_grey_within_5_s_after_its_feed_stopped_and_recovers_by_itself(browser, server):
    """The page's clock is moved by the test: a busy machine's timers are late."""
    with closing(browser.new_page()) as page:
        page.clock.install()
        server.push(full_operation())
        page.goto(server.address)
        last = msgspec.structs.replace(full_operation(), headline="the last state")
        server.push_once(last)
        expect(page.locator("#headline-text")).to_have_text(last.headline)
        server.silence()  # nothing is on its way
        page.clock.run_for(5_000)
        assert page.locator("body").get_attribute("data-feed") == "stopped"
        assert re.search(r"No news since \d\d:\d\d:\d\d [A-Z]{2,4}", page.locator("#no-news").inner_text())
        assert page.title() == "No news · Observer"
        assert page.locator("#level-word").inner_text() == "Unknown"
        assert "grayscale(1)" in page.eval_on_selector("#parts", "part => getComputedStyle(part).filter")
        server.refuse_feeds()  # an answer after which a browser does not ask again by itself
        server.push(full_operation())
        expect(page.locator("body")).to_have_attribute("data-feed", "live")
        assert not page.locator("#no-news").is_visible()


def test_an_order_is_confirmed_sent_with_the_token_and_its_outcome_shown(opened, server):
    opened.get_by_role("button", name="Restart track-b").click()
    dialog = opened.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("Restart track-b?")
    assert server.orders == []
    dialog.get_by_label("Token").fill(TOKEN)
    dialog.get_by_role("button", name="Restart").click()
    expect(dialog.get_by_role("status")).to_have_text("The system has the order.")
    dialog.get_by_role("button", name="Close").click()
    assert server.orders == [("restart", {"process": "track-b"})]


def test_all_orders_reach_their_addresses_and_the_token_is_asked_for_once(opened, server):
    shows(opened, server, worker_down())
    opened.evaluate("token => sessionStorage.setItem('observer-token', token)", TOKEN)
    for name in ("Silence process_fatal:track-b", "Approve the file of KOSDAQ", "Pin 005930", "Unpin 029687"):
        opened.get_by_role("button", name=name, exact=True).click()
        dialog = opened.get_by_role("dialog")
        assert not dialog.get_by_label("Token").is_visible()
        opened.keyboard.press("Enter")
        expect(dialog.get_by_role("status")).to_contain_text("The system has")
        opened.keyboard.press("Enter")
    assert server.orders == [
        ("silence", {"alert": "process_fatal:track-b", "for_s": 7200}),
        ("approve", {"file": "KOSDAQ", "run": "KOSDAQ-1"}),
        ("pin", {"line": "005930"}),
        ("unpin", {"line": "029687"}),
    ]


def test_a_refused_order_says_why_and_a_wrong_token_is_forgotten(opened, server):
    opened.get_by_label("Pin a line").fill("005930.NXT")
    opened.keyboard.press("Enter")
    dialog = opened.get_by_role("dialog")
    dialog.get_by_label("Token").fill("another")
    opened.keyboard.press("Enter")
    expect(dialog.get_by_role("status")).to_contain_text("Refused: The token is another one")
    server.refusal = "005930.NXT is not in the universe."
    dialog.get_by_label("Token").fill(TOKEN)
    opened.keyboard.press("Enter")
    expect(dialog.get_by_role("status")).to_have_text("Refused: 005930.NXT is not in the universe.")
    opened.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_an_order_without_an_answer_is_not_said_to_be_refused_or_not_sent(opened, server):
    opened.evaluate("token => sessionStorage.setItem('observer-token', token)", TOKEN)
    opened.get_by_role("button", name="Restart track-b").click()
    dialog = opened.get_by_role("dialog")
    server.refusal, server.refusal_status = "no answer in 3 s", 503
    opened.keyboard.press("Enter")
    expect(dialog.get_by_role("status")).to_have_text("Not known whether it was done: no answer in 3 s")
    server.refusal, server.is_losing_answers = None, True
    dialog.get_by_role("button", name="Send it again").click()
    expect(dialog.get_by_role("status")).to_contain_text("Not known whether it was done: the server gives no answer")
    server.is_losing_answers = False
    dialog.get_by_role("button", name="Send it again").click()
    expect(dialog.get_by_role("status")).to_have_text("The system has the order.")
    refused, *others = server.keys  # Chromium may have sent the lost one repeatedly
    assert (server.orders[0][0], len(set(others)), refused in others) == ("restart", 1, False)
    opened.keyboard.press("Escape")


def test_an_order_with_another_time_is_another_order(opened, server):
    shows(opened, server, worker_down())
    opened.evaluate("token => sessionStorage.setItem('observer-token', token)", TOKEN)
    opened.get_by_role("button", name="Silence process_fatal:track-b", exact=True).click()
    dialog = opened.get_by_role("dialog")
    server.is_losing_answers = True
    dialog.get_by_role("button", name="Silence").click()
    expect(dialog.get_by_role("status")).to_contain_text("Not known whether it was done")
    server.is_losing_answers = False
    dialog.get_by_label("30 minutes").check()
    dialog.get_by_role("button", name="Send it again").click()
    expect(dialog.get_by_role("status")).to_have_text("The system has the order.")
    given = {(key, body["for_s"]) for key, (_, body) in zip(server.keys, server.orders, strict=True)}
    assert sorted(for_s for _, for_s in given) == [1800, 7200]
    assert len({key for key, _ in given}) == 2, "a server refuses a key that another order had"


def test_a_stored_day_is_in_the_address_and_shown_the_same_way(opened, server):
    opened.get_by_role("button", name="The stored day before").click()
    expect(opened.locator("#headline-text")).to_have_text(past_day().headline)
    assert opened.url.endswith(f"#{PAST_DAY}")
    assert opened.locator("#day").input_value() == PAST_DAY
    assert "Only the running system knows this" in text_of(opened, "processes")
    ends = re.compile("Alerts of the day.*since 10:40:12 until 10:55:02.*since 06:00:41, not ended", re.DOTALL)
    expect(opened.locator("#alerts")).to_contain_text(ends)
    assert "113 recovered" in text_of(opened, "gaps")
    assert opened.locator("button.order:visible").count() == 0
    assert "all well" in opened.locator("#feed").inner_text()
    opened.reload()
    expect(opened.locator("#headline-text")).to_have_text(past_day().headline)
    opened.get_by_role("button", name="Back to now").click()
    expect(opened.locator("#headline-text")).to_have_text(full_operation().headline)
    assert PAST_DAY not in opened.url
    opened.go_back()
    expect(opened.locator("#headline-text")).to_have_text(past_day().headline)


def test_a_phone_shows_the_whole_name_and_counts_of_each_line_with_gaps(opened, server):
    size = opened.viewport_size
    opened.set_viewport_size({"width": 360, "height": 800})
    opened.get_by_role("button", name="The stored day before").click()
    expect(opened.locator("#headline-text")).to_have_text(past_day().headline)
    clipped = """() => [...document.querySelectorAll(".strip-name, .strip-count")]
        .filter((each) => each.scrollWidth > each.clientWidth).map((each) => each.textContent)"""
    assert opened.locator(".strip-name").count() > 5
    assert opened.evaluate(clipped) == []
    if size:
        opened.set_viewport_size(size)


def test_a_day_that_is_not_stored_says_so(opened):
    expect(opened.locator("#processes")).to_be_visible()
    opened.evaluate("location.hash = '#2020-01-01'")
    expect(opened.locator("#trouble")).to_have_text("No day 2020-01-01 is stored: choose another.")
    expect(opened.locator("#headline-text")).to_have_text("The page has no figures of 2020-01-01 yet.")
    assert opened.locator("#head-day").inner_text() == "2020-01-01"
    assert opened.locator("#processes").is_visible() is False  # figures of now are not shown as those of the day
    opened.get_by_role("button", name="Back to now").click()
    expect(opened.locator("#trouble")).to_be_hidden()
    expect(opened.locator("#headline-text")).to_have_text(full_operation().headline)
    expect(opened.locator("#processes")).to_be_visible()


def test_the_keyboard_reaches_figures_and_orders_with_visible_focus(opened, server):
    opened.goto(server.address)
    expect(opened.locator("#processes tbody tr").first).to_be_visible()  # until then the page has no figures to reach
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.textContent") == "Skip to the figures"
    opened.keyboard.press("Enter")
    assert opened.evaluate("document.activeElement.id") == "main"
    assert "#" not in opened.url
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.getAttribute('aria-label')") == "Restart core-writer"
    assert opened.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    opened.locator(".heat").focus()
    first = opened.locator(".heat-detail").inner_text()
    opened.keyboard.press("ArrowRight")
    assert opened.locator(".heat-detail").inner_text() != first
    opened.keyboard.press("Enter")
    expect(opened.get_by_role("dialog").get_by_role("heading")).to_contain_text("Pin ")


def test_400_tiles_and_41_slots_are_drawn_in_place(opened, server):
    assert opened.locator("#universe .tiles .tile").count() == 400
    assert opened.locator("#board .slot").count() == 41
    opened.evaluate("window.kept = [...document.querySelectorAll('.tiles .tile, .slot, tbody tr')]")
    shows(opened, server, msgspec.structs.replace(full_operation(shift=1.0), headline="moved"))
    assert opened.evaluate("window.kept.every(each => each.isConnected)")
    inside = opened.evaluate(
        """() => {
          const outer = document.querySelector('.heat').getBoundingClientRect();
          return [...document.querySelectorAll('.tiles .tile')].every(tile => {
            const box = tile.getBoundingClientRect();
            return box.left >= outer.left - 1 && box.right <= outer.right + 1 && box.bottom <= outer.bottom + 1;
          });
        }"""
    )
    assert inside


def test_the_headline_is_announced_only_when_it_changes(opened, server):
    opened.evaluate(
        """() => {
          window.changes = 0;
          new MutationObserver(() => { window.changes += 1; })
            .observe(document.querySelector('.headline-words'), {subtree: true, childList: true, characterData: true});
        }"""
    )
    later = msgspec.structs.replace(full_operation(), instance="again")
    server.push(later)
    expect(opened.locator("#head-instance")).to_have_text("again")
    assert opened.evaluate("window.changes") == 0


def test_figures_have_the_texts_of_the_table(opened):
    found = opened.evaluate(
        """async calls => {
          const format = await import(new URL("page/format.js", location.href));
          return calls.map(call => {
            const [, name, values] = /^(\\w+)\\((.*)\\)$/.exec(call);
            const parsed = values === "undefined" ? [undefined] : JSON.parse(`[${values.replaceAll("'", '"')}]`);
            return format[name](...parsed);
          });
        }""",
        list(TEXTS),
    )
    assert dict(zip(TEXTS, found, strict=True)) == TEXTS


def test_the_heat_map_fills_its_room_with_areas_in_proportion_to_the_values(opened):
    values = [1.6e6 / (1 + order) for order in range(400)]
    found = opened.evaluate(
        """async values => {
          const {squarified} = await import(new URL("page/treemap.js", location.href));
          return squarified(values, {x: 10, y: 20, w: 800, h: 400});
        }""",
        values,
    )
    areas = [each["w"] * each["h"] for each in found]
    assert areas == pytest.approx([value / sum(values) * 800 * 400 for value in values])
    assert all(each["x"] >= 10 - 1e-6 and each["x"] + each["w"] <= 810 + 1e-6 for each in found)
    assert all(each["y"] >= 20 - 1e-6 and each["y"] + each["h"] <= 420 + 1e-6 for each in found)
    ratios = sorted(max(each["w"] / each["h"], each["h"] / each["w"]) for each in found)
    assert ratios[len(ratios) // 2] < 2


def test_without_any_trade_all_tiles_have_one_size_and_without_tiles_there_is_none(opened):
    found = opened.evaluate(
        """async () => {
          const {heatLayout} = await import(new URL("page/treemap.js", location.href));
          const tiles = ["1", "2", "3", "4"].map(line => ({line, sector: "", value: 0}));
          const [sector] = heatLayout(tiles, 200, 216);
          return [sector.tiles.map(({room}) => room.w * room.h), heatLayout([], 200, 200)];
        }"""
    )
    assert found == [[10_000] * 4, []]


@pytest.mark.slow
def test_the_axis_has_the_days_hours_and_now(opened):
    found = opened.evaluate(
        """async () => {
          const {dayAxis, position, hours} = await import(new URL("page/axis.js", location.href));
          const phases = [["IDLE", 0, 515], ["WARMUP", 515, 530], ["FULL_OPERATION", 530, 1019], ["IDLE", 1019, 1440]]
            .map(([name, begin_minute, end_minute]) => ({name, begin_minute, end_minute}));
          const axis = dayAxis(phases, null);
          return [axis, dayAxis(phases, 130), dayAxis([], 5), position(axis, 0), position(axis, 750), hours(axis, 4)];
        }"""
    )
    axes = [{"begin": begin, "end": end} for begin, end in ((480, 1020), (120, 1020), (0, 1440))]
    assert found == [*axes, 0, 50, [540, 720, 900]]
