"""Raw: a file is one row, with its bytes, path, size and media type."""

from collections.abc import Iterator

import pyarrow as pa

from actors.formats.block import Block
from actors.formats.input import Input
from events.batch import Position
from rota.options import RawOptions

SCHEMA = pa.schema(
    [("bytes", pa.binary()), ("path", pa.string()), ("size", pa.int64()), ("media_type", pa.string())]
)


def read(file: Input, options: RawOptions, start: Position, schema: pa.Schema | None) -> Iterator[Block]:  # noqa: ARG001 - there is nothing to choose
    """Yield the one row."""
    if start.row:
        return
    body = file.whole()
    row = {"bytes": body, "path": file.path, "size": len(body), "media_type": file.media_type}
    yield Block(start, pa.Table.from_pylist([row], SCHEMA))
