"""The slots on the screen of `observer top`. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from rich.text import Text

from observer.cli.tables import display_width
from observer.cli.top_texts import aged, cell, fit, missing, number
from observer.web.model import Account, Slot, State

_CELL_WIDTH: Final = 26
_TABLE_WIDTH: Final = 80  # columns of the table, without its charts
_CELLS_UP_TO: Final = 8  # rows, from which there is a table
_CHARTS_FROM: Final = 100  # columns
_UNCONNECTED: Final = "not connected"
_OLD_S: Final = 60.0  # market seconds, from which a price is shown dim
_SPARKS: Final = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH: Final = 16


def slots(state: State, width: int, rows: int) -> Sequence[Text]:
    """The accounts and their slots, the busiest first: a table where there is room for it, else cells."""
    part = state.board
    if part.missing:
        return missing("slots", part, width)
    held = sum(len(account.slots) for account in part.accounts)
    most = sum(account.slots_max for account in part.accounts)
    waiting = f"{part.waiting} candidates wait" if part.waiting else "no candidate waits"
    words = _connection_words(state)
    accounts = [_account(each, words[each.is_connected]) for each in part.accounts]
    parts: list[str | Text] = [f"{held} of {most} held", *accounts, waiting]
    lines = [*aged("slots", state, part, parts, width, 1 + (rows > _CELLS_UP_TO))]
    busiest = sorted(
        (slot for account in part.accounts for slot in account.slots),
        key=lambda slot: (-(slot.trades_per_minute or 0.0), slot.line),
    )
    room = rows - len(lines)
    if room <= 0 or not busiest:
        return lines[: max(rows, 1)]
    if width >= _TABLE_WIDTH and room >= _CELLS_UP_TO:
        shown = busiest[: room - 1]
        return [*lines, _slot_header(width), *(_slot_row(slot, width) for slot in shown)]
    columns = max(1, (width + 1) // (_CELL_WIDTH + 1))
    cells = [_slot_cell(slot) for slot in busiest[: room * columns]]
    return [*lines, *(Text(" ").join(cells[at : at + columns]) for at in range(0, len(cells), columns))]


def _connection_words(state: State) -> Mapping[bool | None, str]:
    """What an account's connection is, by `is_connected`: at night none is due."""
    if state.phase != "IDLE" or not state.is_live:
        return {True: "connected", False: _UNCONNECTED, None: "connection not known"}
    now_minute = state.timeline.now_minute or 0.0
    begins = [each.begin_minute for each in state.timeline.phases if each.name != "IDLE"]
    next_minute = round(min((each for each in begins if each > now_minute), default=0.0))
    next_text = f", next {next_minute // 60:02}:{next_minute % 60:02}" if next_minute else ""
    closed = f"{_UNCONNECTED}: the market is closed{next_text}"
    return {True: "connected", False: closed, None: closed}


def _account(account: Account, connection: str) -> Text:
    text = f"{account.name} {len(account.slots)} of {account.slots_max}, {connection}"
    return Text(text, "yellow" if connection == _UNCONNECTED else "")


def _slot_cell(slot: Slot) -> Text:
    price, change = _price(slot), _change(slot)
    line = fit(slot.line, 10)
    room = _CELL_WIDTH - display_width(line) - len(change) - 1
    shown = price if len(price) < room else ""
    return Text(line).append(f"{shown:>{room}}", _of_age(slot)).append(f" {change}", _of_change(slot.change_percent))


def _slot_header(width: int) -> Text:
    header = f"  {'line':<10} {'name':<14} {'why':<16} {'score':>6} {'a minute':>8} {'price':>11} {'change':>7}"
    return Text(f"{header}  the last minutes" if width >= _CHARTS_FROM else header, "dim")


def _slot_row(slot: Slot, width: int) -> Text:
    name, why, score = cell(slot.name, 14), cell(slot.why, 16), number(slot.score, 2)
    text = Text(f"  {cell(slot.line, 10)} {name} {why} {score:>6} {number(slot.trades_per_minute):>8}")
    text.append(f" {_price(slot):>11}", _of_age(slot)).append(f" {_change(slot):>7}", _of_change(slot.change_percent))
    return text.append(f"  {_spark([price for _, price in slot.prices])}") if width >= _CHARTS_FROM else text


def _price(slot: Slot) -> str:
    return number(slot.price, 0 if slot.price is None or slot.price.is_integer() else 2)


def _of_age(slot: Slot) -> str:
    return "dim" if (slot.price_age_s or 0.0) >= _OLD_S else ""


def _change(slot: Slot) -> str:
    return "" if slot.change_percent is None else f"{slot.change_percent:+.1f}%"


def _of_change(change_percent: float | None) -> str:
    """Red for a rise and blue for a fall, as in Korea."""
    return "" if not change_percent else "red" if change_percent > 0 else "blue"


def _spark(prices: Sequence[float]) -> str:
    recent = prices[-_SPARK_WIDTH:]
    if len(recent) < 2:
        return ""
    low, high = min(recent), max(recent)
    scale = (len(_SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_SPARKS[round((price - low) * scale)] for price in recent)
