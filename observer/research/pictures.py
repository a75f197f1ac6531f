"""Bars as a picture in a file: candles, volumes below them, and a mark at each bar that may lack trades.

A PNG file is drawn by matplotlib, of the extra `research`. An HTML file needs no other file, only a browser.
"""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, BinaryIO, Final

import polars as pl

from observer.base.errors import ConfigError, DataFileError
from observer.base.files import replacing
from observer.research.errors import require_extra

FORMS: Final = (".png", ".html")
_RISING, _FALLING, _LACKING, _GREY = "#c62828", "#1565c0", "#ef6c00", "#888888"  # red rises, as in Korea
_LEGEND: Final = "orange: not proved to have every trade"
_INCHES: Final = (12.0, 6.75)
_DPI: Final = 100
_SIZE: Final = (1200, 675)  # pixels of the HTML picture
_LEFT: Final = 70  # pixels left of the candles
_CANDLES, _VOLUMES = (50, 470), (510, 630)  # pixels from above
_LINES: Final = 5  # of the grid of prices
_LABELS: Final = 8  # times below the picture


def write_picture(bars: pl.DataFrame, title: str, path: Path) -> None:
    """Draw bars (time, open, high, low, close, volume, complete; at least one) to a file ending in .png or .html.

    Raises:
        ConfigError: the file's name has another end.
        MissingExtra: matplotlib is not installed.
        DataFileError: the file cannot be written.
    """
    require_form(path)
    rows = bars.select("time", "open", "high", "low", "close", "volume", "complete").to_dicts()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            if path.suffix.lower() == ".png":
                _draw(rows, title, file)
            else:
                file.write("".join(_page(rows, title)).encode())
    except OSError as error:
        raise DataFileError(f"cannot write to {path}: {error.strerror or error}") from error


def require_form(path: Path) -> None:
    """Check that a picture can be drawn to a file.

    Raises:
        ConfigError: its name has another end than .png or .html.
        MissingExtra: it is a PNG file, and matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMS:
        raise ConfigError(f"{path} is no picture: give a name that ends in {' or '.join(FORMS)}")
    if path.suffix.lower() == ".png":
        require_extra("matplotlib")


def _draw(rows: Sequence[dict[str, Any]], title: str, file: BinaryIO) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    prices, volumes = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    at = range(len(rows))
    colours = list(map(_colour, rows))
    body_low = [min(row["open"], row["close"]) for row in rows]
    body = [abs(row["close"] - row["open"]) for row in rows]
    prices.vlines(at, [row["low"] for row in rows], [row["high"] for row in rows], colors=colours, linewidth=1)
    prices.bar(at, body, bottom=body_low, color=colours, edgecolor=colours, width=0.7)
    prices.set_title(title, loc="left")
    prices.yaxis.set_major_formatter("{x:,g}")
    volumes.bar(at, [row["volume"] for row in rows], color=[_mark(row) for row in rows], width=0.7)
    volumes.yaxis.set_major_formatter("{x:,g}")
    volumes.set_ylabel("volume")
    shown = at[:: _step(rows)]
    volumes.set_xticks(shown, [_time(rows[each]) for each in shown])
    if not all(row["complete"] for row in rows):
        volumes.set_xlabel(_LEGEND, loc="left")
    for axis in (prices, volumes):
        axis.grid(visible=True, axis="y", alpha=0.3)
    figure.savefig(file, format="png", dpi=_DPI)


def _page(rows: Sequence[dict[str, Any]], title: str) -> Iterator[str]:
    width, height = _SIZE
    yield f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>\n'
    yield "<style>body{margin:1em;font:14px sans-serif}svg{max-width:100%;height:auto}text{fill:#444}</style>\n"
    yield f'<svg viewBox="0 0 {width} {height}" width="{width}" xmlns="http://www.w3.org/2000/svg">\n'
    yield f'<text x="{_LEFT}" y="24" font-size="18">{escape(title)}</text>\n'
    yield from _grid(rows)
    yield from _candles(rows)
    if not all(row["complete"] for row in rows):
        yield f'<text x="{_LEFT}" y="{height - 4}">{_LEGEND}</text>\n'
    yield "</svg></html>\n"


def _grid(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    bounds = top, bottom = _bounds(rows)
    for nth in range(_LINES):
        price = bottom + (top - bottom) * nth / (_LINES - 1)
        y = _y(price, bounds)
        yield f'<line x1="{_LEFT}" x2="{_SIZE[0]}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        yield f'<text x="4" y="{y + 4:.1f}">{price:,.6g}</text>\n'
    for nth in range(0, len(rows), _step(rows)):
        yield f'<text x="{_x(nth, rows):.1f}" y="650">{_time(rows[nth])}</text>\n'


def _candles(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    wide, bounds = (_SIZE[0] - _LEFT) / len(rows), _bounds(rows)
    most = max(row["volume"] for row in rows) or 1
    for nth, row in enumerate(rows):
        x, colour = _x(nth, rows), _colour(row)
        high, low, begin, end = (_y(row[name], bounds) for name in ("high", "low", "open", "close"))
        first, last = sorted((begin, end))
        bar = (_VOLUMES[1] - _VOLUMES[0]) * row["volume"] / most
        state = "complete" if row["complete"] else "not proved complete"
        prices = " ".join(f"{name} {row[name]:,g}" for name in ("open", "high", "low", "close"))
        yield f"<g><title>{_time(row)} {prices} volume {row['volume']:,g} ({state})</title>"
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{high:.1f}" y2="{low:.1f}" stroke="{colour}"/>'
        yield f'<rect x="{x - wide * 0.35:.1f}" y="{first:.1f}" width="{wide * 0.7:.1f}" '
        yield f'height="{max(last - first, 1):.1f}" fill="{colour}"/>'
        yield f'<rect x="{x - wide * 0.35:.1f}" y="{_VOLUMES[1] - bar:.1f}" width="{wide * 0.7:.1f}" '
        yield f'height="{bar:.1f}" fill="{_mark(row)}"/></g>\n'


def _bounds(rows: Sequence[dict[str, Any]]) -> tuple[float, float]:
    return max(row["high"] for row in rows), min(row["low"] for row in rows)


def _y(price: float, bounds: tuple[float, float]) -> float:
    (top, bottom), (above, below) = bounds, _CANDLES
    return above + (below - above) * ((top - price) / (top - bottom) if top > bottom else 0.5)


def _x(nth: int, rows: Sequence[dict[str, Any]]) -> float:
    return _LEFT + (_SIZE[0] - _LEFT) * (nth + 0.5) / len(rows)


def _step(rows: Sequence[dict[str, Any]]) -> int:
    return max(1, -(-len(rows) // _LABELS))


def _time(row: dict[str, Any]) -> str:
    found: str = row["time"].strftime("%H:%M:%S" if row["time"].second else "%H:%M")
    return found


def _colour(row: dict[str, Any]) -> str:
    return _RISING if row["close"] >= row["open"] else _FALLING


def _mark(row: dict[str, Any]) -> str:
    return _GREY if row["complete"] else _LACKING
