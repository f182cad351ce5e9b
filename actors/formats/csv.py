"""CSV by pyarrow, block by block.

The bytes are cut at the ends of rows here, so that each block has a known offset to go on from (ADR 6).
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain

import pyarrow as pa

from actors.formats.block import BadRowError, Block
from actors.formats.csv_columns import Columns
from actors.formats.csv_faults import BadRows
from actors.formats.csv_head import Head, read_head
from actors.formats.csv_rows import Dialect, Scan, count_lines
from actors.formats.csv_text import Piece, pieces
from actors.formats.input import Input
from actors.formats.types import SHOWN_CHARACTERS
from events.batch import FileFault, Position
from rota.options import CsvOptions


def read(file: Input, options: CsvOptions, start: Position, schema: pa.Schema | None) -> Iterator[Block]:
    """Yield the rows from a position on, in blocks of about 4 MiB of the file."""
    reader = _Reader(file, options)
    with closing(file.chunks()) as chunks:
        head = read_head(file, chunks, options, reader.dialect)
        if not head.names:
            return
        columns = Columns(file.path, head.names, options)
        if schema is not None and start.offset:
            columns.take_types(schema)
        behind = chain([head.rest] if head.rest else [], chunks)
        if not start.offset:
            start = Position(head.source_bytes, 0, 1 + head.lines)
            yield from reader.blocks(behind, head, columns, start)
            return
        if not columns.known:
            # The first block decides the types.
            first = Position(head.source_bytes, 0, 1 + head.lines)
            next(reader.blocks(behind, head, columns, first), None)
    with closing(file.chunks(start.offset)) as chunks:
        yield from reader.blocks(chunks, head, columns, start)


class _Reader:
    """Makes blocks of the pieces of one file."""

    def __init__(self, file: Input, options: CsvOptions) -> None:
        self._file = file
        self._options = options
        self.dialect = Dialect(options)

    def blocks(self, chunks: Iterable[bytes], head: Head, columns: Columns, start: Position) -> Iterator[Block]:
        """Yield the rows from a position on."""
        for piece in self._pieces(chunks, head):
            if not piece.whole:
                raise BadRowError(self._unfinished(piece, start))
            good = bad = 0
            for block in self._blocks(piece, columns, start):
                good, bad = good + block.table.num_rows, bad + len(block.bad)
                if block.table.num_rows or block.bad:
                    yield block
            start = Position(
                start.offset + piece.source_bytes,
                start.row + good,
                start.line + count_lines(piece.body),
                bad=start.bad + bad,
            )

    def _pieces(self, chunks: Iterable[bytes], head: Head) -> Iterator[Piece]:
        limit = self._file.limits.row_bytes
        return pieces(chunks, self.dialect, head.text, limit, prompt=self._file.prompt)

    def _blocks(self, piece: Piece, columns: Columns, start: Position) -> Iterator[Block]:
        """Yield the rows of a piece: as one block, if not very many are bad."""
        try:
            if not piece.stray:
                if not columns.known:
                    columns.infer(piece.body)
                table = columns.table(piece.body)
                if not columns.doubtful_cells(piece.body, table):
                    return iter([Block(start, table)])
        except pa.ArrowInvalid:
            pass  # a row is bad; which one is found out now
        rows = BadRows(self._file.path, self.dialect, columns, piece, start)
        try:
            if not columns.known:
                columns.infer(rows.others())
            return rows.blocks(rows.table())
        except pa.ArrowException as error:
            message = f"{self._file.path}, from line {start.line} on: {error}"
            raise BadRowError(FileFault(message, line=start.line, row=start.row)) from error

    def _unfinished(self, piece: Piece, start: Position) -> FileFault:
        """Return why the rest of the file, or a row of it, is no row."""
        path, limit = self._file.path, self._file.limits.row_bytes
        opened = Scan(self.dialect, piece.body).opened
        text = piece.body[: SHOWN_CHARACTERS * 4].decode(errors="replace")[:SHOWN_CHARACTERS]
        if opened is None:
            message = f"{path}, line {start.line}: a row is longer than {limit} bytes, the limit of a row"
            return FileFault(message, line=start.line, text=text, row=start.row)
        line = start.line + count_lines(piece.body[:opened])
        message = f"{path}, line {line}: a quote is opened and never closed"
        if piece.source_bytes > limit:
            message = (
                f"{path}, line {line}: a quote is opened and not closed within {limit} bytes, the limit of a row"
            )
        return FileFault(
            f"{message}; if quotes have no meaning in the file, the option quote can be null",
            line=line,
            text=text,
            row=start.row,
        )
