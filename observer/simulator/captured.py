"""Frames that a real session received, to be sent again as they are: JSON lines with the frame under `raw`. Pure."""

from collections.abc import Mapping

import msgspec

CapturedFrames = Mapping[tuple[str, str], tuple[str, ...]]

_DATA_PARTS = 4


class _Line(msgspec.Struct, frozen=True):
    raw: str


def captured_frames(content: bytes) -> CapturedFrames:
    """Data frames by TR id and key (the first field of the first record), in their order; control messages are left
    out.

    Raises:
        ValueError: a line is not a JSON object with a `raw`.
    """
    frames: dict[tuple[str, str], tuple[str, ...]] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            raw = msgspec.json.decode(line, type=_Line).raw
        except msgspec.DecodeError as error:
            raise ValueError(f"line {number} of the captured frames: {error}") from error
        parts = raw.split("|", _DATA_PARTS - 1)
        if raw[:1] in ("0", "1") and len(parts) == _DATA_PARTS:
            key = (parts[1], parts[3].partition("^")[0])
            frames[key] = (*frames.get(key, ()), raw)
    return frames
