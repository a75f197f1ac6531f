"""ETags: what names a content, and the answer to a request that has it already."""

from hashlib import sha256
from typing import Final

from litestar import Response

_LENGTH: Final = 32


def tag_of(content: bytes) -> str:
    """The tag of this content."""
    return sha256(content).hexdigest()[:_LENGTH]


def tags_in(if_none_match: str | None) -> frozenset[str]:
    """The tags of the header, without their quotes; "*" stands for any."""
    found = (each.strip().removeprefix("W/").strip('"') for each in (if_none_match or "").split(","))
    return frozenset(tag for tag in found if tag)


def tagged(content: bytes, tag: str, media_type: str, if_none_match: str | None) -> Response[bytes]:
    """The content with its tag, which a browser asks for each time; 304 without it where the header has the tag."""
    headers = {"ETag": f'"{tag}"', "Cache-Control": "no-cache"}
    if tags_in(if_none_match) & {tag, "*"}:
        return Response(b"", status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)
