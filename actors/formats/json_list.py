"""The elements of a JSON list that is too long to be held."""

import re
from collections.abc import Generator, Iterable, Iterator
from itertools import chain

import numpy as np

from actors.formats.block import BadRowError, Block
from actors.formats.columns import Place
from actors.formats.input import Input
from actors.formats.json_document import Document
from actors.formats.json_elements import Elements, Positions, Scanner
from actors.formats.json_rows import BLANKS, BLOCK_ROWS, JsonRows, Texts
from actors.formats.json_value import EXTRA, JsonValueError
from events.batch import FileFault, Position
from rota.errors import TooLargeError

NONBLANK = re.compile(rb"[^ \t\r\n]")
CLOSING = ord("}")


class JsonList:
    """A list in a document; some of its elements may have been read before."""

    def __init__(self, file: Input, rows: JsonRows, document: Document) -> None:
        self._file = file
        self._rows = rows
        self._document = document

    def blocks(self, chunks: Iterable[bytes], start: Position) -> Iterator[Block]:
        """Yield the elements from a position on, and check that the list and the document are closed."""
        chunks = iter(chunks)
        scanner = Scanner()
        rest = b""
        lines: bytes | None = b""
        for chunk in chunks:
            found = _after(rest, lines, scanner.scan(chunk))
            text = rest + chunk
            if found.end >= 0:
                start = yield from self._blocks(text, found, self._ends(text, found, start), start)
                self._document.finish(chain([text[found.end :]], chunks), start)
                return
            start = yield from self._blocks(text, found, found.commas, start)
            done = int(found.commas[-1]) + 1 if len(found.commas) else 0
            rest, lines = text[done:], found.lines and found.lines[done:]
            if len(rest) > self._file.limits.row_bytes:
                raise self._too_long(_number(start), start.line)
        line = start.line + rest.count(b"\n")
        message = (
            f"{self._file.path}, line {line}: the file ends before its list of rows, in element {_number(start)}"
        )
        raise BadRowError(FileFault(message, line=line, row=start.row))

    def _ends(self, text: bytes, found: Elements, start: Position) -> Positions:
        """Return where the elements of a text that closes the list end."""
        last = int(found.commas[-1]) + 1 if len(found.commas) else 0
        none = _number(start) == 1 and not last and not text[: found.end].strip(BLANKS)
        return found.commas if none else np.append(found.commas, found.end)

    def _blocks(
        self, text: bytes, found: Elements, ends: Positions, start: Position
    ) -> Generator[Block, None, Position]:
        """Yield the elements that end so, and return the position after the last."""
        begin = 0
        for first in range(0, len(ends), BLOCK_ROWS):
            some = ends[first : first + BLOCK_ROWS]
            end = int(some[-1]) + 1
            lines = found.lines[begin : end - 1] if found.lines is not None else None
            start = yield from self._block(text[begin:end], lines, some - begin, start)
            begin = end
        return start

    def _block(
        self, body: bytes, lines: bytes | None, ends: Positions, start: Position
    ) -> Generator[Block, None, Position]:
        starts = np.concatenate((np.zeros(1, np.intp), ends[:-1] + 1))
        long = np.flatnonzero(ends - starts > self._file.limits.row_bytes)
        if len(long):
            starts, ends, lines = starts[: long[0]], ends[: long[0]], None

        def place(index: int) -> Place:
            line = _line(body, int(starts[index]), start)
            return Place(f"line {line}, element {_number(start) + index}", line)

        if lines is not None and not _records(body, ends):
            lines = None
        found = self._rows.read(Texts(body, starts, ends, place, _stops, lines), start)
        if found.block.table.num_rows or found.block.bad:
            yield found.block
        if found.stop is not None:
            raise BadRowError(found.stop)
        if len(long):
            begin = int(ends[-1]) + 1 if len(ends) else 0
            raise self._too_long(_number(start) + int(long[0]), _line(body, begin, start))
        return Position(
            start.offset + len(body),
            start.row + found.block.table.num_rows,
            start.line + body.count(b"\n"),
            bad=start.bad + len(found.block.bad),
        )

    def _too_long(self, number: int, line: int) -> TooLargeError:
        place = f"{self._file.path}, line {line}, element {number}"
        return TooLargeError(f"{place}: it is longer than {self._file.limits.row_bytes} bytes")


def _number(start: Position) -> int:
    """Return the number of the element at a position, from 1."""
    return start.row + start.bad + 1


def _after(rest: bytes, lines: bytes | None, found: Elements) -> Elements:
    """Return what was found in a piece as it is in the text that begins with the rest of the pieces before."""
    if not rest:
        return found
    joined = None if lines is None or found.lines is None else lines + found.lines
    return Elements(found.commas + len(rest), found.end + len(rest) if found.end >= 0 else -1, joined)


def _line(body: bytes, begin: int, start: Position) -> int:
    """Return the line on which the next element after a place in the body begins; the body is at `start`."""
    found = NONBLANK.search(body, begin)
    return start.line + body.count(b"\n", 0, found.start() if found else begin)


def _stops(_: int, error: JsonValueError | None) -> str | None:
    if error is None:
        return "an element is missing beside a comma"
    return f"a comma is missing ({error})" if error.reason == EXTRA else None


def _records(body: bytes, ends: Positions) -> bool:
    """Say whether each element ends with `}`: then none is empty, and each is one record or wrong."""
    characters = np.frombuffer(body, np.uint8)
    last = body[: int(ends[-1])].rstrip(BLANKS)
    inner = ends[:-1] - 1
    return last.endswith(b"}") and bool((inner >= 0).all() and (characters[inner] == CLOSING).all())
