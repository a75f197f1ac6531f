"""`[lake]` of the configuration."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

_FOLDER: Final = "lake"  # in the folder of data
_LIBRARIES: Final = ("pyarrow", "pyiceberg")


def missing_libraries() -> str:
    """What to install where the lake's libraries are not installed; empty where they are."""
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    return f"{' and '.join(missing)} not installed: pip install 'observer[lake]'" if missing else ""


class LakeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where sealed days go. The section, also an empty one, has each finished day sealed after its backup.

    `folder` is a local folder or a mounted one; empty for `lake` in the folder of data.
    """

    folder: str = ""

    def folder_in(self, data: str) -> Path:
        """The lake's folder, where `data` is the folder of data."""
        return Path(self.folder) if self.folder else Path(data) / _FOLDER
