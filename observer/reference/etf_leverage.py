"""The multiple of its index's return that a fund aims at, read from a source's words or from the fund's name. Pure.

KRX writes "일반", "2X 레버리지", "1X 인버스", "2X 인버스" (IDX_CALC_INST_NM2; in 2021 "일반 (1)"; upbit-kiwoom.md
section 3), requirement 002 knows "인버스" alone. A name says when a fund is one: "KODEX 200선물인버스2X".
"""

import re
from typing import Final

_PLAIN: Final = "일반"
_LEVERAGED: Final = "레버리지"
_INVERSE: Final = "인버스"
_USUAL_LEVERAGE: Final = 2.0  # what a Korean fund that only says "레버리지" has; more is not admitted
_MULTIPLE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(?:[xX×]|배)|\(\s*[-+]?(\d+(?:\.\d+)?)\s*[xX]?\s*\)")
_BESIDE_WORD: Final = re.compile(
    rf"\d+(?:\.\d+)?\s*[xX]\s*(?:{_LEVERAGED}|{_INVERSE})|(?:{_LEVERAGED}|{_INVERSE})\s*\d+(?:\.\d+)?\s*[xX]"
)
_ALONE: Final = re.compile(r"(?<![A-Za-z0-9.])(-?\d+(?:\.\d+)?)[xX](?![A-Za-z0-9])")
_WORDS_ONLY: Final = re.compile(rf"(?:{_PLAIN}|{_LEVERAGED}|{_INVERSE}|[-+\d.()\sxX×배])*")


def leverage_of(words: str) -> float | None:
    """The multiple in a source's own words, negative for an inverse fund; None for words that we do not know.

    "일반" is 1, a bare "인버스" -1, a bare "레버리지" 2.
    """
    kinds = [kind for kind in (_PLAIN, _LEVERAGED, _INVERSE) if kind in words]
    if len(kinds) != 1 or not _WORDS_ONLY.fullmatch(words):
        return None
    return _signed(kinds[0], words, _USUAL_LEVERAGE if kinds[0] == _LEVERAGED else 1.0) or None


def leverage_of_name(name: str) -> float:
    """The multiple that a fund's name tells, beside the word or alone with its sign ("미래에셋 -2X 홍콩H 선물 ETN(H)");
    1 where it says nothing of leverage.
    """
    kind = next((kind for kind in (_INVERSE, _LEVERAGED) if kind in name), _PLAIN)
    if kind == _PLAIN:
        alone = _ALONE.search(name)
        return (float(alone[1]) if alone else 0.0) or 1.0
    beside = _BESIDE_WORD.search(name)
    usual = _USUAL_LEVERAGE if _LEVERAGED in name else 1.0  # both words: "N2 인버스 레버리지 금 선물 ETN(H)"
    return _signed(kind, beside[0] if beside else "", usual) or 1.0


def _signed(kind: str, text: str, usual: float) -> float:
    found = _MULTIPLE.search(text)
    multiple = float(found[1] or found[2]) if found else usual
    return -multiple if kind == _INVERSE else multiple
