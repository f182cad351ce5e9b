"""YAML by libyaml, document by document and element by element."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa
from yaml._yaml import CParser

from actors.formats.block import Block
from actors.formats.input import Input
from actors.formats.line_blocks import Row, blocks_of
from actors.formats.yaml_rows import rows_in
from events.batch import FileFault, Position
from rota.errors import TooLargeError
from rota.options import YamlOptions

PROMPT_BYTES = 512
"""What the parser gets at a time of a stream: each row that ends in the last part of a piece is a block."""


def read(file: Input, options: YamlOptions, start: Position, schema: pa.Schema | None = None) -> Iterator[Block]:
    """Yield the rows from a position on; those before it are parsed again and passed over."""
    with closing(file.chunks()) as chunks:
        stream = _Stream(file, chunks)
        rows = rows_in(file.path, CParser(stream), file.limits, stream.on_event)
        yield from blocks_of(rows, _AsItIs(), file, options, start, schema)


class _Stream:
    """The bytes as the parser asks for them; it holds those that belong to one value."""

    def __init__(self, file: Input, chunks: Generator[bytes, None, None]) -> None:
        self._path = file.path
        self._limit = file.limits.row_bytes
        self._chunks = chunks
        self._chunk = b""
        self._at = 0
        self._held = 0
        self._part = PROMPT_BYTES if file.prompt else None

    def read(self, size: int = 16 * 1024, /) -> bytes:
        """Return the next bytes; none at the end."""
        while self._at >= len(self._chunk):
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._chunk, self._at = chunk, 0
        piece = self._chunk[self._at : self._at + min(size, self._part or size)]
        self._at += len(piece)
        self._held += len(piece)
        if self._held > self._limit + 2 * size:
            raise TooLargeError(f"{self._path}: a value is larger than {self._limit} bytes (limit row_bytes)")
        return piece

    def on_event(self) -> bool:
        """Note that a value is at its end; say whether the parser may wait for the next one."""
        self._held = 0
        return self._part is not None and self._at >= len(self._chunk)


class _AsItIs:
    """Rows that need no change before they become columns."""

    def fit(self, columns: dict[str, list[Any]], rows: Sequence[Row], schema: pa.Schema | None) -> None:
        """Leave the columns as they are."""

    def advise(self, fault: FileFault, columns: dict[str, list[Any]], index: int) -> FileFault:  # noqa: ARG002
        """Return the fault as it is."""
        return fault
