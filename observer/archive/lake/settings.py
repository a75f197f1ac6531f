"""`[lake]` of the configuration."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from observer.base.extras import install_command

TARGET_VARIABLES: Final = ("OBSERVER_LAKE_ACCESS_KEY", "OBSERVER_LAKE_SECRET_KEY")
"""The variables with the target's keys, which only the lake's process gets."""
TARGET_SCHEME: Final = "s3://"
_FOLDER: Final = "lake"  # in the folder of data
_LIBRARIES: Final = ("pyarrow", "pyiceberg")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ENDPOINT: Final = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+/?")


def missing_libraries() -> str:
    """The lake's libraries that are not installed, and the command that installs them; empty if none is missing."""
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    return f"{' and '.join(missing)} not installed: {install_command('lake')}" if missing else ""


class LakeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where sealed days go. The section, also an empty one, has each finished day sealed after its backup.

    `folder` is a local folder or a mounted one; empty for `lake` in the folder of data. `target` is the URL of an
    S3-compatible object store, s3://BUCKET/PREFIX, which gets a copy of each sealed day; empty for none. `endpoint` is
    the URL of its host, empty for that of AWS; `region` is the one that requests are signed for, empty for us-east-1.
    `keys_file` is a TOML file with `access_key` and `secret_key`, readable by its owner only; empty where variables of
    the environment have them.

    Raises:
        ValueError: the target or the endpoint is no such URL, or there is no target for what describes it.
    """

    folder: str = ""
    target: str = ""
    endpoint: str = ""
    region: str = ""
    keys_file: str = ""

    def __post_init__(self) -> None:
        bucket = urlsplit(self.target).netloc
        if self.target and not (self.target.startswith(TARGET_SCHEME) and _BUCKET.fullmatch(bucket)):
            raise ValueError("target: must be s3://BUCKET/PREFIX; `folder` takes a path")
        if self.endpoint and not _ENDPOINT.fullmatch(self.endpoint):
            raise ValueError("endpoint: must be http://HOST:PORT or https://HOST")
        if not self.target and (self.endpoint or self.region or self.keys_file):
            raise ValueError("target: without one, nothing reads endpoint, region and keys_file")

    def folder_in(self, data: str) -> Path:
        """The lake's folder, where `data` is the folder of data."""
        return Path(self.folder) if self.folder else Path(data) / _FOLDER
