"""Rows kept on disk until the columns of all of them are known."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec

from actors.results.registry import Row

HEAD = 8
"""Bytes that say how long a group is."""


class Spool:
    """Groups of rows in a file of no name, to be read as often as one likes."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it

    def add(self, rows: Sequence[Row]) -> None:
        """Keep a group of rows."""
        body = _encode(rows)
        self._file.write(len(body).to_bytes(HEAD, "big"))
        self._file.write(body)

    def groups(self) -> Iterator[tuple[list[Row], int]]:
        """Yield the groups in their order, each with its size in bytes; nothing is added meanwhile."""
        self._file.seek(0)
        while head := self._file.read(HEAD):
            body = self._file.read(int.from_bytes(head, "big"))
            yield msgspec.msgpack.decode(body), len(body)

    def close(self) -> None:
        """Let go of the disk space."""
        with suppress(OSError):  # what was not written is not needed
            self._file.close()


_encode = msgspec.msgpack.Encoder().encode
