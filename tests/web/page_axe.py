"""axe-core on the page, and the contrast of what axe leaves out."""

from collections.abc import Sequence
from typing import Any, Final

from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import Page

CONTRAST_MIN: Final = 4.5
_TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
_CONTRASTS: Final = """() => {
  const context = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const luminance = colour => {
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const parts = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map(part => part / 255);
    const [r, g, b] = parts.map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return [...document.querySelectorAll(".heat-legend .tile")].map(tile => {
    const {color, backgroundColor} = getComputedStyle(tile);
    const [low, high] = [luminance(color), luminance(backgroundColor)].sort((one, other) => one - other);
    return [tile.className, (high + 0.05) / (low + 0.05)];
  });
}"""


def violations(page: Page) -> Sequence[str]:
    """What axe-core finds: the rule, and the first elements that break it. The page's context bypasses its CSP."""
    page.evaluate(AXE_FILE_PATH.read_text())
    options = {"runOnly": list(_TAGS), "resultTypes": ["violations"]}
    found: dict[str, Any] = page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"][:3]
    ]


def heat_contrasts(page: Page) -> dict[str, float]:
    """The contrast of the text on each colour of the heat map. axe leaves it out: the corner of a loss is an image."""
    return dict(page.evaluate(_CONTRASTS))
