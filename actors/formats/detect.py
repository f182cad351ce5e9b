"""Says in which format a file is, and how it is compressed: by its name, its media type, or its first bytes."""

import re
from collections.abc import Generator
from contextlib import closing
from posixpath import basename
from urllib.parse import unquote, urlsplit

from actors.formats.block import BadRowError
from actors.formats.compression import decompressed, magic_of, may_begin
from actors.formats.content import format_of
from actors.formats.limits import Limits
from events.batch import FileFault
from events.formats import formats
from rota.errors import TooLargeError
from rota.file_names import COMPRESSIONS
from rota.options import Compression

MEDIA_TYPES: dict[str, Compression] = {
    "application/bzip2": "bzip2",
    "application/gzip": "gzip",
    "application/x-bzip2": "bzip2",
    "application/x-gzip": "gzip",
    "application/x-lz4": "lz4",
    "application/x-xz": "xz",
    "application/zstd": "zstd",
}
HTML_FORMATS = frozenset({"raw", "xml"})
"""Formats that HTML pages may be read in."""
HTML_TYPES = frozenset({"application/xhtml+xml", "text/html"})
HTML = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html)\b", re.IGNORECASE)
SEEN_BYTES = 64 * 1024
AS_THEY_ARE = frozenset({"messagepack", "raw"})
"""Formats in which any bytes are right: only a name or an option says that such a file is compressed."""


def detect(
    path: str,
    media_type: str | None,
    head: bytes,
    *,
    format: str | None = None,  # noqa: A002 - the option's name
    compression: Compression | None = None,
) -> tuple[str, Compression]:
    """Return the name of a file's format, and its compression.

    `head` are the first bytes as they are stored. What an option says holds; without one the name decides, else the
    media type, else the bytes. A compression is different in one thing: where the bytes are plainly compressed in
    another way, or not at all, the bytes are right, because servers compress and decompress as they like.
    BadRowError if nothing is recognised.
    """
    media = (media_type or "").partition(";")[0].strip().lower()
    suffixes = _suffixes(path)
    named = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if named:
        suffixes.pop()
    found = format or _by_suffix(suffixes) or _by_media_type(media)
    if compression is None:
        compression = _compression(named or MEDIA_TYPES.get(media), head, sure=found in AS_THEY_ARE)
    if found is None:
        return format_of(path, _plain(path, head, compression)), compression
    if media in HTML_TYPES and found not in HTML_FORMATS and HTML.match(_plain(path, head, compression)):
        message = f"{path} is an HTML page and no {found}; a page in place of a file often asks for a login"
        raise BadRowError(FileFault(message))
    return found, compression


def _suffixes(path: str) -> list[str]:
    """Return the parts of a file's name after its dots."""
    if path.startswith(("http://", "https://")):
        path = unquote(urlsplit(path).path)
    return _known(path) or _known(path.partition("?")[0]) or basename(path).lower().split(".")[1:]


def _known(path: str) -> list[str]:
    """Return the parts after dots if they say something."""
    parts = basename(path).lower().split(".")[1:]
    return parts if parts and (parts[-1] in COMPRESSIONS or _by_suffix(parts)) else []


def _by_suffix(suffixes: list[str]) -> str | None:
    known = {suffix: name for name, format_ in formats().items() for suffix in format_.suffixes}
    return known.get(suffixes[-1]) if suffixes else None


def _by_media_type(media: str) -> str | None:
    known = {type_: name for name, format_ in formats().items() for type_ in format_.media_types}
    # A structured syntax suffix, as in application/vnd.api+json.
    return known.get(media) or {"json": "json", "xml": "xml", "yaml": "yaml"}.get(
        media.rpartition("+")[2] * ("+" in media)
    )


def _compression(said: Compression | None, head: bytes, *, sure: bool) -> Compression:
    """Return the compression that the bytes show, if they contradict what was said."""
    if said is None:
        return "none" if sure else magic_of(head) or "none"
    if may_begin(said, head):
        return said
    return magic_of(head) or "none"


def _plain(path: str, head: bytes, compression: Compression) -> bytes:
    """Return as much as can be decompressed of the first bytes: they end where they end."""

    def stored() -> Generator[bytes, None, None]:
        yield head

    pieces: list[bytes] = []
    try:
        with closing(decompressed(stored(), compression, path, Limits())) as plain:
            for piece in plain:
                pieces.append(piece)
                if sum(map(len, pieces)) >= SEEN_BYTES:
                    break
    except (BadRowError, TooLargeError):
        if not pieces:
            message = (
                f"{path}: its first bytes cannot be decompressed as {compression}, so that its format is not known"
            )
            raise BadRowError(FileFault(f"{message}; the option format can name it")) from None
    return b"".join(pieces)[:SEEN_BYTES]
