"""XML by expat, piece by piece: elements become rows."""

from collections.abc import Iterator
from contextlib import closing

import pyarrow as pa

from actors.formats.block import Block
from actors.formats.input import Input
from actors.formats.line_blocks import blocks_of
from actors.formats.xml_rows import rows_in
from actors.formats.xml_text import decoded
from actors.formats.xml_values import XmlValues
from events.batch import Position
from rota.options import XmlOptions


def read(file: Input, options: XmlOptions, start: Position, schema: pa.Schema | None = None) -> Iterator[Block]:
    """Yield the rows from a position on; those before it are parsed again and passed over."""
    with closing(file.chunks()) as chunks:
        rows = rows_in(file.path, decoded(file.path, chunks), options.row, file.limits)
        yield from blocks_of(rows, XmlValues(file.path, options), file, options, start, schema)
