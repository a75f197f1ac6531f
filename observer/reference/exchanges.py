"""The exchanges whose listings are kept, and the regions that they are spoken of by. Codes are KIS's."""

from collections.abc import Mapping, Sequence
from typing import Final

# The national exchanges of Korea, and KIS's own file of sector codes, whose records are the indices of the sectors.
KOREA: Final = ("KOSPI", "KOSDAQ", "KONEX")
SECTOR_CODES: Final = "IDXCODE"

# Each exchange has a file of its own, and two of China's have one more for their indices. HASE is Hanoi, VNSE Ho Chi
# Minh City, as KIS's calls have it (the requirement swaps them).
REGIONS: Final[Mapping[str, Sequence[str]]] = {
    "KR": (*KOREA, SECTOR_CODES),
    "US": ("NASD", "NYSE", "AMEX"),
    "HK": ("SEHK",),
    "CN": ("SHAA", "SHI", "SZAA", "SZI"),
    "JP": ("TKSE",),
    "VN": ("HASE", "VNSE"),
}
INDEX_FILES: Final = (SECTOR_CODES, "SHI", "SZI")  # nothing in them can be traded
EXCHANGES: Final = tuple(exchange for exchanges in REGIONS.values() for exchange in exchanges)

# What the exchanges are called in the world, where that is not KIS's name.
NAMES: Final[Mapping[str, str]] = {
    "NASD": "NASDAQ",
    "SEHK": "HKEX",
    "SHAA": "SSE",
    "SHI": "SSE indices",
    "SZAA": "SZSE",
    "SZI": "SZSE indices",
    "TKSE": "TSE",
    "HASE": "HNX",
    "VNSE": "HOSE",
}


def traded_in(region: str) -> Sequence[str]:
    """The exchanges of one of `REGIONS` on which something is traded."""
    return [exchange for exchange in REGIONS[region] if exchange not in INDEX_FILES]


def region_of(exchange: str) -> str:
    """The region of one of `EXCHANGES`."""
    return next(region for region, exchanges in REGIONS.items() if exchange in exchanges)
