"""JSON: the elements of a list, or a document that is one row."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain

import numpy as np
import pyarrow as pa

from actors.formats.block import BadRowError, Block
from actors.formats.columns import Place
from actors.formats.input import Input
from actors.formats.json_document import Document
from actors.formats.json_elements import Scanner
from actors.formats.json_encoding import check_encoding, mark_bytes
from actors.formats.json_list import JsonList
from actors.formats.json_rows import BLANKS, JsonRows, Read, Texts
from actors.formats.json_value import JsonValueError
from events.batch import FileFault, Position
from rota.errors import TooLargeError
from rota.options import JsonOptions


def read(file: Input, options: JsonOptions, start: Position, schema: pa.Schema | None) -> Iterator[Block]:
    """Yield the rows from a position on, in blocks of a few megabytes."""
    rows = JsonRows(file, options, schema)
    document = Document(file, options.path)
    with closing(file.chunks(start.offset)) as chunks:
        if start.offset:
            document.go_on()
            yield from JsonList(file, rows, document).blocks(chunks, start)
            return
        head = next(chunks, b"")
        check_encoding(file.path, head)
        while not (value := head[mark_bytes(head) :].lstrip(BLANKS)) and (chunk := next(chunks, None)) is not None:
            head += chunk
            if len(head) > file.limits.row_bytes:
                break
        if value and value[0] not in b"[{" and not options.path:
            yield from _value(file, rows, chain([head[mark_bytes(head) :]], chunks))
            return
        found = document.find(chain([head], chunks))
        if found.kind == "list":
            yield from JsonList(file, rows, document).blocks(chain([found.rest], chunks), found.position)
            return
        text, rest = _record(file, found.rest, found.position.line, chunks)
        block = _one(rows, text, found.position.line).block
        yield block
        after = Position(row=block.table.num_rows, line=found.position.line + text.count(b"\n"))
        document.finish(chain([rest], chunks), after)


def _value(file: Input, rows: JsonRows, chunks: Iterable[bytes]) -> Iterator[Block]:
    """Yield the row of a document that is one value without members."""
    text = b""
    for chunk in chunks:
        text += chunk
        if len(text) > file.limits.row_bytes:
            raise _too_large(file, 1)
    found = _one(rows, text, 1, "the document is no JSON")
    if found.stop is not None:
        raise BadRowError(found.stop)
    yield found.block


def _one(rows: JsonRows, text: bytes, line: int, wrong: str | None = None) -> Read:
    """Read the only row; if it is no JSON it is a bad row, or the end if `wrong` is given."""

    def place(_: int) -> Place:
        return Place(f"line {line}", line)

    def stops(_: int, error: JsonValueError | None) -> str | None:
        return wrong and f"{wrong}: {error}"

    return rows.read(Texts(text, np.zeros(1, np.intp), np.array([len(text)]), place, stops, None), Position())


def _record(file: Input, text: bytes, line: int, chunks: Iterator[bytes]) -> tuple[bytes, bytes]:
    """Return the text of a record that is open, and what has been fetched from its end on."""
    scanner = Scanner()
    begin, end = 0, scanner.scan(text).end
    while end < 0:
        if len(text) > file.limits.row_bytes:
            raise _too_large(file, line)
        if (chunk := next(chunks, None)) is None:
            line += text.count(b"\n")
            message = f"{file.path}, line {line}: the file ends in the middle of a record"
            raise BadRowError(FileFault(message, line=line, row=0))
        begin, end = len(text), scanner.scan(chunk).end
        text += chunk
    end += begin
    if end > file.limits.row_bytes:
        raise _too_large(file, line)
    return b"{" + text[: end + 1], text[end:]


def _too_large(file: Input, line: int) -> TooLargeError:
    return TooLargeError(
        f"{file.path}, line {line}: the document is one row of more than {file.limits.row_bytes} bytes; "
        "the option path can name a list of rows in it"
    )
