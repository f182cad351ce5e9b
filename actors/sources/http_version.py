"""What tells one version of a file on a web server from another."""

import re
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from aiohttp import ClientResponse
from msgspec import Struct

from actors.sources.errors import ChangedError, SourceError
from rota.options import Compression

CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.IGNORECASE)
UNSATISFIED = re.compile(r"bytes \*/(\d{1,18})", re.IGNORECASE)
STRONG_AFTER_SECONDS = 1
"""A time of change says which version it is, once the second that it names is over (RFC 9110, 8.8.2.2)."""
CODINGS: dict[str, Compression] = {"gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd"}
SUFFIXES = {"gzip": (".gz", ".tgz", ".gzip"), "zstd": (".zst", ".zstd")}


class HttpVersion(Struct, frozen=True):
    """A file as its server has described it with one answer."""

    size: int | None
    """Bytes of what is sent: with its content coding, if it has one."""
    ranges: bool
    """Whether the server has sent a part of it."""
    etag: str | None
    """The opaque tag, whether it is weak or not: Apache's are weak for a second after each change."""
    modified: str | None
    if_range: str | None
    """What a request for a range can be made to depend on."""
    media_type: str | None
    coding: str
    """The content coding; nothing if it has none."""

    @classmethod
    def of(cls, response: ClientResponse, shown: str) -> "HttpVersion":
        """Return what an answer with a file, or a range of it, says of the file."""
        headers = response.headers
        partial = response.status == HTTPStatus.PARTIAL_CONTENT
        etag = headers.get("ETag", "").strip()
        modified = headers.get("Last-Modified") or None
        total: int | None
        if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            found = UNSATISFIED.fullmatch(headers.get("Content-Range", "").strip())
            total = int(found[1]) if found else None
        elif partial:
            total = content_range(response, shown)[2]
        else:
            total = response.content_length
        return cls(
            size=total,
            ranges=partial and total is not None,
            etag=etag.removeprefix("W/").strip('"') or None,
            modified=modified,
            if_range=etag if etag.startswith('"') else modified if not etag and _is_strong(response) else None,
            media_type=headers.get("Content-Type", "").partition(";")[0].strip().lower() or None,
            coding=headers.get("Content-Encoding", "").strip().lower().replace("identity", ""),
        )

    def check(self, other: "HttpVersion", shown: str) -> None:
        """Raise ChangedError if an answer is about another version than this one."""
        same = (
            (self.etag == other.etag)
            and (self.modified == other.modified or None in (self.modified, other.modified))
            and (self.size == other.size or None in (self.size, other.size))
            and self.coding == other.coding
        )
        if not same:
            raise ChangedError(f"{shown} was changed while it was read")

    def info(self, name: str, shown: str) -> dict[str, Any]:
        """Return what a file system tells of it; SourceError if its content coding is none that Rota reads."""
        compression = CODINGS.get(self.coding)
        if self.coding and compression is None:
            raise SourceError(
                f"{shown} is sent in the content coding {self.coding!r}, though it was asked for without; "
                "gzip and zstd can be read"
            )
        if compression and shown.lower().endswith(SUFFIXES[compression]):
            compression = None  # the file itself, of which the server says what it is
        return {
            "name": name,
            "type": "file",
            "size": self.size,
            "ETag": self.etag,
            "LastModified": self.modified,
            "mimetype": self.media_type,
            "compression": compression,
        }


def content_range(response: ClientResponse, shown: str) -> tuple[int, int, int | None]:
    """Return first byte, byte after the last, and size of the file, as the answer with a range says."""
    found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if not found:
        raise SourceError(f"{shown} cannot be read: the server sends a range without saying which")
    first, last, total = int(found[1]), int(found[2]), None if found[3] == "*" else int(found[3])
    length = last + 1 - first
    if length < 1 or (total is not None and last >= total) or response.content_length not in (None, length):
        raise SourceError(f"{shown} cannot be read: the server sends a range that cannot be")
    return first, last + 1, total


def _is_strong(response: ClientResponse) -> bool:
    try:
        changed, now = (parsedate_to_datetime(response.headers[name]) for name in ("Last-Modified", "Date"))
        return (now - changed).total_seconds() >= STRONG_AFTER_SECONDS
    except (KeyError, TypeError, ValueError):
        return False
