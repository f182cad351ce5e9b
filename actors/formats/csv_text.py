"""Cuts the bytes of a CSV into pieces of whole rows, in UTF-8 whatever the file's encoding is."""

import codecs
from collections.abc import Iterable, Iterator

import numpy as np
from msgspec import Struct

from actors.formats.csv_rows import Dialect, Scan

UTF_8 = "utf-8"
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte-order marks; that of UTF-32 begins as that of UTF-16."""
UNITS = {"utf-16-le": "<u2", "utf-16-be": ">u2", "utf-32-le": "<u4", "utf-32-be": ">u4"}
PROMPT_BYTES = 1024 * 1024
"""A row of a stream that is shorter is looked at again with each piece in which it may end."""
UNREADABLE = "\udfff"
"""Stands for bytes that the encoding does not have: no UTF-8 can be made of it, so that no text has it."""

codecs.register_error("rota.unreadable", lambda error: (UNREADABLE, error.end))  # type: ignore[attr-defined] # any UnicodeError has an end


class Text:
    """The encoding of one file: the one that is asked for, or that of its byte-order mark."""

    def __init__(self, encoding: str, head: bytes) -> None:
        name = codecs.lookup(encoding).name
        self.mark_bytes = 0
        family = name.removesuffix("-sig")
        for mark, marked in MARKS:
            if head.startswith(mark) and (family == UTF_8 or marked.startswith(family)):
                name, self.mark_bytes = marked, len(mark)
                break
        # Python's codecs write a mark of their own under these names, and would look for one in each piece.
        self.name = {"utf-8-sig": UTF_8, "utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(name, name)
        self.is_utf_8 = self.name == UTF_8
        self._unit = np.dtype(UNITS.get(self.name, "u1"))
        self._ends = [int(np.frombuffer(end.encode(self.name), self._unit)[0]) for end in "\n\r"]

    def decoded(self, source: bytes) -> bytes:
        """Return the bytes in UTF-8; what is no text in the encoding is none in the UTF-8 either."""
        try:
            return source.decode(self.name).encode()
        except UnicodeError:
            return source.decode(self.name, "rota.unreadable").encode(errors="surrogatepass")

    def line_ends(self, source: bytes) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """Return the offsets behind each line feed and each carriage return."""
        whole = len(source) - len(source) % self._unit.itemsize
        units = np.frombuffer(source[:whole], self._unit)
        feed, carriage_return = self._ends
        return (np.flatnonzero((units == feed) | (units == carriage_return)) + 1) * self._unit.itemsize


class Piece(Struct):
    """Some whole rows in UTF-8, and how many bytes they are in the file."""

    body: bytes
    source_bytes: int
    stray: bool = False
    """Whether there is text behind a closing quote."""
    whole: bool = True
    """False if no row ends here: the file ends inside quotes, or the row is too long."""
    line_ends: "np.ndarray[tuple[int], np.dtype[np.int64]] | None" = None
    """Offsets behind the line ends in the file, if that is not in UTF-8."""

    def source_offset(self, begin: int) -> int:
        """Return where in the file's bytes a row begins that has some bytes in UTF-8 before it."""
        if self.line_ends is None:
            return begin
        # The text has as many line ends as the bytes, so the same one is before the row in both.
        number = self.body.count(b"\n", 0, begin) + self.body.count(b"\r", 0, begin)
        return int(self.line_ends[number - 1]) if number else 0


def pieces(
    chunks: Iterable[bytes], dialect: Dialect, text: Text, row_bytes: int, *, prompt: bool = False
) -> Iterator[Piece]:
    """Cut a file into pieces of rows; the last may be one that is not whole.

    The last chunk is not cut: a small file is one piece, whose rows all count when types are seen. But `prompt`
    yields the whole rows of each chunk before it asks for the next.
    """
    rest = b""
    sizes: list[int] = []
    """Of `rest`, after each chunk."""
    for chunk, is_last in ((chunk, False) for chunk in chunks) if prompt else _with_last(chunks):
        rest = rest + chunk if rest else chunk
        if is_last:
            break
        sizes.append(len(rest))
        ends_soon = prompt and sizes[-1] <= PROMPT_BYTES and (b"\n" in chunk or b"\r" in chunk)
        if sizes[-1] <= row_bytes and not ends_soon and not _is_due(sizes):
            continue
        piece = _cut(rest, dialect, text, final=False)
        if piece.source_bytes:
            yield piece
            rest = rest[piece.source_bytes :]
            sizes = [size - piece.source_bytes for size in sizes if size > piece.source_bytes]
        if len(rest) > row_bytes:
            yield Piece(text.decoded(rest), len(rest), whole=False)
            return
    if rest:
        piece = _cut(rest, dialect, text, final=True)
        if piece.source_bytes:
            yield piece
        if rest := rest[piece.source_bytes :]:
            yield Piece(rest if text.is_utf_8 else text.decoded(rest), len(rest), whole=False)


def _with_last(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield each chunk, and whether it is the last."""
    before: bytes | None = None
    for chunk in chunks:
        if before is not None:
            yield before, False
        before = chunk
    if before is not None:
        yield before, True


def _is_due(sizes: list[int]) -> bool:
    """Return whether a row that has grown to these sizes is looked at again: when it has doubled since.

    So a long row does not cost the square of its length. The sizes alone tell, wherever reading began.
    """
    due, last = False, 0
    for size in sizes:
        due = size >= 2 * last
        last = size if due else last
    return due


def _cut(source: bytes, dialect: Dialect, text: Text, *, final: bool) -> Piece:
    """Take the whole rows from the beginning of some bytes."""
    if text.is_utf_8:
        scan = Scan(dialect, source)
        end = scan.last_row_end(final=final)
        body = source if end == len(source) else source[:end]
        return Piece(body, end, bool(len(scan.stray) and scan.stray[0] < end))
    ends = text.line_ends(source)
    size = len(source) if final else int(ends[-1]) if len(ends) else 0
    body = text.decoded(source[:size])
    scan = Scan(dialect, body)
    end = scan.last_row_end(final=final)
    if final and end == len(body):
        return Piece(body, len(source), bool(len(scan.stray)), line_ends=ends)
    piece = Piece(body[:end], 0, bool(len(scan.stray) and scan.stray[0] < end), line_ends=ends)
    piece.source_bytes = piece.source_offset(end)
    return piece
