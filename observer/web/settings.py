"""`[web]` of the configuration."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import msgspec

TOKEN_FILE: Final = "web.token"  # noqa: S105 - a file's name; in the runtime folder
_LIBRARIES: Final = ("litestar", "uvicorn")


def missing_libraries() -> str:
    """What to install where the page's libraries are not installed; empty where they are."""
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    return (
        f"{' and '.join(missing)} not installed: pip install --editable '.[web]' in Observer's folder"
        if missing
        else ""
    )


class WebSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The page and the HTTP API, on loopback alone. Without the section there is none.

    `port` is its TCP port. `token_file` is the file with the token that orders need, readable by its owner only; empty
    for `web.token` in the runtime folder. The first start makes it.
    """

    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 8765
    token_file: str = ""

    def token_file_in(self, runtime: str) -> Path:
        """The token's file, where `runtime` is the runtime folder."""
        return Path(self.token_file) if self.token_file else Path(runtime) / TOKEN_FILE
