"""Pictures of the page in four states, three sizes and both themes: `python -m tests.web.page_pictures FOLDER`.

`python -m tests.web.page_pictures FOLDER http://127.0.0.1:8765` takes those of README.md from a running demo.
"""

import sys
from pathlib import Path
from typing import Final

from tests.web.page_browser import chromium
from tests.web.page_parts import PAST_DAY
from tests.web.page_server import PageServer
from tests.web.page_states import FOUR_STATES, past_day

SIZES: Final = ((360, 800), (1280, 800), (3840, 2160))
THEMES: Final = ("light", "dark")


def take(folder: Path, only: str = "") -> None:
    """Writes STATE-WIDTH-THEME.png for each; `only`: names that contain this text."""
    folder.mkdir(parents=True, exist_ok=True)
    with PageServer({PAST_DAY: past_day()}).running() as server, chromium() as browser:
        for width, height in SIZES:
            for theme in THEMES:
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
                for name, make in FOUR_STATES.items():
                    path = folder / f"{name}-{width}-{theme}.png"
                    if only not in path.stem:
                        continue
                    server.push(FOUR_STATES["full" if name == "past" else name]())
                    page.goto(server.address + (f"#{PAST_DAY}" if name == "past" else ""))
                    page.reload()
                    page.wait_for_function(
                        "text => document.querySelector('#headline-text').textContent === text", arg=make().headline
                    )
                    length = page.evaluate("document.documentElement.scrollHeight")
                    page.set_viewport_size({"width": width, "height": max(height, length)})  # draws all charts
                    page.wait_for_timeout(400)
                    page.screenshot(path=path)
                    page.set_viewport_size({"width": width, "height": height})
                page.close()


def take_running(folder: Path, address: str) -> None:
    """Writes page-THEME.png of a page that is served now."""
    with chromium() as browser:
        for theme in THEMES:
            page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=theme)
            page.goto(address)
            page.wait_for_function("document.querySelector('#headline-text').textContent !== ''")
            page.wait_for_timeout(3_000)  # some trades
            page.screenshot(path=folder / f"page-{theme}.png")
            page.close()


if __name__ == "__main__":
    if sys.argv[2:] and sys.argv[2].startswith("http"):
        take_running(Path(sys.argv[1]), sys.argv[2])
    else:
        take(Path(sys.argv[1]), *sys.argv[2:3])
