"""Raw: a file is one row, with its bytes, path, size, media type and version."""

from collections.abc import Iterator
from contextlib import closing

import pyarrow as pa

from actors.formats.block import Block
from actors.formats.input import Input
from events.batch import Position
from rota.errors import TooLargeError
from rota.options import RawOptions

SCHEMA = pa.schema(
    [
        ("bytes", pa.binary()),
        ("path", pa.string()),
        ("size", pa.int64()),
        ("media_type", pa.string()),
        ("version", pa.string()),
    ]
)


def read(file: Input, options: RawOptions, start: Position, schema: pa.Schema | None) -> Iterator[Block]:  # noqa: ARG001 - its columns are always the same
    """Yield the one row."""
    if start.row:
        return
    body = _body(file) if options.content else None
    row = {
        "bytes": body,
        "path": file.path,
        "size": file.size if body is None else len(body),
        "media_type": file.media_type,
        "version": file.version,
    }
    yield Block(start, pa.Table.from_pylist([row], SCHEMA))


def _body(file: Input) -> bytes:
    pieces, size = [], 0
    with closing(file.chunks()) as chunks:
        for piece in chunks:
            pieces.append(piece)
            size += len(piece)
            if size > file.limits.whole_bytes:
                raise TooLargeError(
                    f"{file.path} is larger than {file.limits.whole_bytes} bytes, and a job gets it as a whole: "
                    "with the option content = false it gets the path, and reads the file itself"
                )
    return b"".join(pieces)
