"""The bytes of an XML document as text, by the encoding that the document declares."""

import codecs
import io
import re
from collections.abc import Iterable, Iterator

from actors.formats.block import BadRowError
from events.batch import FileFault

HEAD_BYTES = 1024
MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
STARTS = ((b"<\x00", "utf-16-le"), (b"\x00<", "utf-16-be"))
"""The first character of a document in UTF-16 without a byte-order mark."""

_DECLARED = re.compile(
    rb"""<\?xml[ \t\r\n][^>]{0,200}?encoding[ \t\r\n]*=[ \t\r\n]*["']([A-Za-z][A-Za-z0-9._-]{0,60})["']"""
)
_START = b"<?xml"
_PLAIN = "<?xml version='1.0'?>"
_NOT_FOR_FILES = {"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "utf-7"}


def decoded(path: str, chunks: Iterable[bytes]) -> Iterator[str]:
    r"""Yield the text in pieces, every line's end as `\n`; BadRowError where bytes are none in the encoding."""
    chunks = iter(chunks)
    head = b""
    while _declares(head) and (chunk := next(chunks, None)) is not None:
        head += chunk
    encoding, mark = _encoding(path, head)
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = io.IncrementalNewlineDecoder(None, translate=True)
    piece: bytes | None = head[mark:]
    while piece is not None:
        try:
            text = decoder.decode(piece)
        except UnicodeError as error:
            yield lines.decode(_before(error, encoding))
            raise _no_text(path, encoding, error) from error
        yield lines.decode(text)
        piece = next(chunks, None)
    try:
        yield lines.decode(decoder.decode(b"", final=True), final=True)
    except UnicodeError as error:
        raise _no_text(path, encoding, error) from error


def _declares(head: bytes) -> bool:
    """Say whether what follows these first bytes may declare the encoding."""
    return len(head) < HEAD_BYTES and (len(head) < len(_START) or (head.startswith(_START) and b">" not in head))


def _encoding(path: str, head: bytes) -> tuple[str, int]:
    """Return the name of the encoding, and the length of the byte-order mark."""
    for mark, encoding in MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    for start, encoding in STARTS:
        if head.startswith(start):
            return encoding, 0
    declared = _DECLARED.match(head)
    if declared is None:
        return "utf-8", 0
    name = declared[1].decode("ascii")
    try:
        found = codecs.lookup(name).name
        plain = found.replace("_", "-") not in _NOT_FOR_FILES and _PLAIN.encode(found) == _PLAIN.encode("ascii")
    except (LookupError, UnicodeError):
        plain = False
    if not plain:
        raise BadRowError(
            FileFault(f"{path}, line 1: the document cannot be in the encoding {name} that it declares")
        )
    return found, 0


def _before(error: UnicodeError, encoding: str) -> str:
    if isinstance(error, UnicodeDecodeError):
        return error.object[: error.start].decode(encoding, errors="ignore")
    return ""


def _no_text(path: str, encoding: str, error: UnicodeError) -> BadRowError:
    shown = repr(error.object[error.start : error.start + 4])[1:] if isinstance(error, UnicodeDecodeError) else ""
    return BadRowError(FileFault(f"{path}: the bytes {shown} are no {encoding}", text=shown or None))
