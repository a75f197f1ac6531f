"""Builders for the tests of gaps."""

import msgspec

from bus.events import GapDetected


def detected(gap_id, after, before, **changes):
    """A gap of the stock between these volumes of the day."""
    gap = GapDetected(gap_id, "kis", "005930", "2026-11-18", 0, 0, 0, after, before, before - after, None, "reconnect")
    return msgspec.structs.replace(gap, **changes)
