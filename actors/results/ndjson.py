"""Results as NDJSON: each row is one line, an object."""

from collections.abc import Sequence
from typing import BinaryIO

from actors.results.registry import Row, Writer
from actors.results.rows import json_bytes


def writer(file: BinaryIO) -> Writer:
    """Return what writes rows into an empty file."""
    return NdjsonWriter(file)


class NdjsonWriter:
    """Writes rows as they come."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add(self, rows: Sequence[Row]) -> None:
        """Take some more rows."""
        self._file.write(b"".join([json_bytes(row) + b"\n" for row in rows]))

    def finish(self) -> None:
        """Write what is left; the file is complete."""
        self._file.flush()

    def close(self) -> None:
        """Nothing is needed beside the file."""
