"""An S3-compatible object store: reads, writes and lists objects below a prefix. It knows nothing of the lake.

An object appears whole, in the request that ends its upload, or not at all: what a kill leaves of an upload has no
name. Every failure is a `TargetError` with the remedy, and no text has a key.
"""

import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
from pyarrow import fs

from observer.archive.settings import TARGET_SCHEME, TARGET_VARIABLES, LakeSettings
from observer.archive.target import PIECE_BYTES, go_on, is_content
from observer.base.errors import ConfigError, MissingKeysError, TargetError
from observer.base.private_file import read_privately
from observer.base.text import conceal, without_secrets

_AWS_VARIABLES: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_AWS_SESSION: Final = "AWS_SESSION_TOKEN"
_ENDPOINT_VARIABLES: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGION_VARIABLES: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")
_REGION: Final = "us-east-1"
_CONNECT_S: Final = 5.0
_REQUEST_S: Final = 15.0  # without any byte
_ATTEMPTS: Final = 3  # of a request
_REFUSAL: Final = re.compile(
    r"AWS Error (ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID|"
    r"MISSING_AUTHENTICATION_TOKEN|\w+ \(HTTP status 40[13]\))"
)


class StoreKeys(msgspec.Struct, frozen=True):
    """The keys of an object store. Their text never shows them."""

    access_key: str
    secret_key: str
    session_token: str = ""

    def __post_init__(self) -> None:
        """Conceals them in every later alert, error and log line of this process."""
        for each in (self.access_key, self.secret_key, self.session_token):
            conceal(each)

    def __repr__(self) -> str:
        """Shows nothing."""
        return "StoreKeys(...)"

    __str__ = __repr__


def keys_of(settings: LakeSettings, environment: Mapping[str, str]) -> StoreKeys:
    """The keys of the settings' target, from the environment or from the keys file.

    Raises:
        MissingKeysError: there are none, or others may read the file; names the remedy.
    """
    for names in (TARGET_VARIABLES, _AWS_VARIABLES):
        access_key, secret_key = (environment.get(name, "").strip() for name in names)
        if access_key and secret_key:
            token = environment.get(_AWS_SESSION, "").strip() if names is _AWS_VARIABLES else ""
            return StoreKeys(access_key, secret_key, token)
    unset = f"no keys of {settings.target}: set {' and '.join(TARGET_VARIABLES)}"
    if not settings.keys_file:
        raise MissingKeysError(f"{unset}, or {' and '.join(_AWS_VARIABLES)}, or configure [lake] keys_file")
    path = Path(settings.keys_file).expanduser()
    try:
        return msgspec.toml.decode(read_privately(path), type=StoreKeys)
    except FileNotFoundError:
        raise MissingKeysError(f"{unset}, or create {path} (mode 600)") from None
    except (msgspec.DecodeError, ValueError):
        text = 'write access_key = "..." and secret_key = "...", each on a line of its own'
        raise MissingKeysError(f"{path} has no keys of {settings.target}: {text}") from None


def open_target(settings: LakeSettings, environment: Mapping[str, str]) -> "ObjectStore":
    """The settings' target; without an endpoint or a region, those of the usual variables of the environment.

    Raises:
        ConfigError: it has no keys.
    """
    endpoint = settings.endpoint or _first(environment, _ENDPOINT_VARIABLES)
    region = settings.region or _first(environment, _REGION_VARIABLES) or _REGION
    return ObjectStore(settings.target, endpoint, region, keys_of(settings, environment))


def open_url(url: str, environment: Mapping[str, str] = os.environ) -> "ObjectStore":
    """The object store at a URL, with keys, endpoint and region of the environment.

    Raises:
        ConfigError: the URL is wrong, or the environment has no keys.
    """
    try:
        settings = LakeSettings(target=url)
    except ValueError as error:
        raise ConfigError(f"{url}: {error}") from None
    return open_target(settings, environment)


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")


class ObjectStore:
    """The objects below a URL, s3://BUCKET/PREFIX. Every method raises TargetError if the store does not answer or
    refuses. Names are relative to the URL.
    """

    has_glob = True

    def __init__(self, url: str, endpoint: str, region: str, keys: StoreKeys) -> None:
        self.url = url.rstrip("/")
        self._endpoint = endpoint
        self._region = region
        self._keys = keys
        self._root = self.url.removeprefix(TARGET_SCHEME)
        self._files = fs.S3FileSystem(
            access_key=keys.access_key,
            secret_key=keys.secret_key,
            session_token=keys.session_token or None,
            region=region,
            endpoint_override=endpoint or None,
            connect_timeout=_CONNECT_S,
            request_timeout=_REQUEST_S,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
            allow_delayed_open=True,  # a small object is one request
        )

    def url_of(self, name: str) -> str:
        return f"{self.url}/{name}"

    @property
    def polars_options(self) -> Mapping[str, str | int]:
        """The options of `polars.scan_parquet` for these objects, keys included."""
        keys = self._keys
        options = {
            "aws_access_key_id": keys.access_key,
            "aws_secret_access_key": keys.secret_key,
            "aws_session_token": keys.session_token,
            "aws_region": self._region,
            "aws_endpoint_url": self._endpoint,
            "aws_allow_http": "true" if self._endpoint.startswith("http://") else "",
        }
        return {"max_retries": _ATTEMPTS - 1, **{name: value for name, value in options.items() if value}}

    def names(self, folder: str) -> Sequence[str]:
        with self._errors():
            found = self._files.get_file_info(fs.FileSelector(self._path(folder), recursive=True, allow_not_found=True))
        begin = len(self._root) + 1
        return sorted(each.path[begin:] for each in found if each.type == fs.FileType.File)

    def read(self, name: str) -> bytes | None:
        with self._errors():
            try:
                with self._files.open_input_stream(self._path(name)) as stream:
                    content: bytes = stream.read()
            except FileNotFoundError:
                return None
        return content

    def write(self, name: str, content: bytes) -> None:
        with self._errors(), self._files.open_output_stream(self._path(name)) as stream:
            stream.write(content)

    def put(self, path: Path, name: str, stop: threading.Event) -> None:
        """As `Target.put`. The library ends an upload also after a failure here."""
        with path.open("rb") as file, self._errors(), self._files.open_output_stream(self._path(name)) as stream:
            while piece := file.read(PIECE_BYTES):
                go_on(stop)
                stream.write(piece)

    def has(self, path: Path, name: str, stop: threading.Event) -> bool:
        with self._errors():
            found = self._files.get_file_info(self._path(name))
        is_there = found.type == fs.FileType.File and found.size == path.stat().st_size
        return is_there and is_content(self.pieces(name), path, stop)

    def pieces(self, name: str) -> Iterator[bytes]:
        with self._errors(), self._files.open_input_stream(self._path(name)) as stream:
            while piece := stream.read(PIECE_BYTES):
                yield piece

    def copy(self, name: str, copied: str) -> None:
        with self._errors():
            self._files.copy_file(self._path(name), self._path(copied))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise TargetError(self._text(error)) from None

    def _text(self, error: Exception) -> str:
        text = without_secrets(str(error))
        if _REFUSAL.search(text):
            names = " and ".join(TARGET_VARIABLES)
            return f"{self.url} refuses these keys: correct {names}, or [lake] keys_file, or the keys' rights: {text}"
        if "NO_SUCH_BUCKET" in text:
            return f"{self.url}: the bucket does not exist: make it, or correct [lake] target: {text}"
        return f"{self.url} does not answer as it should: {text}"
