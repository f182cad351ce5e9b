"""The bytes of an Origin as a Python file, for libraries that read at random: reads ahead where reading goes on."""

import io
from typing import Any, Protocol

from actors.formats.block import BadRowError
from events.batch import FileFault

FIRST_BYTES = 64 * 1024
MOST_BYTES = 8 * 1024 * 1024


class RandomBytes(Protocol):
    """What can be read at random; `read_at` gives fewer bytes only at the end."""

    path: str

    def read_at(self, offset: int, size: int) -> bytes:
        """Return bytes from anywhere."""


class RandomFile(io.RawIOBase):
    """A file of known size, read-only.

    A read that follows the one before fetches twice as much, so that reading from start to end takes few requests,
    and reading here and there fetches little that is not wanted.
    """

    def __init__(self, file: RandomBytes, size: int) -> None:
        super().__init__()
        self._file = file
        self._size = size
        self._position = 0
        self._ahead = memoryview(b"")
        self._ahead_from = 0
        self._fetch_bytes = FIRST_BYTES

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read at random."""
        return True

    def size(self) -> int:
        """Return the number of bytes."""
        return self._size

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set where the next read begins."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"There is no byte {base + offset}")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes; fewer only at the end."""
        left = max(0, self._size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        if not wanted:
            return b""
        begin = self._position - self._ahead_from
        if begin >= 0 and begin + wanted <= len(self._ahead):
            self._position += wanted
            return bytes(self._ahead[begin : begin + wanted])
        return self._fetched(wanted, begin)

    def readall(self) -> bytes:
        """Return all bytes that follow."""
        return self.read()

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; return how many bytes."""
        view = memoryview(buffer).cast("B")
        piece = self.read(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        """Let go of what was read ahead."""
        self._ahead = memoryview(b"")
        super().close()

    def _fetched(self, wanted: int, begin: int) -> bytes:
        """Read from the Origin: what is wanted, and some more if reading goes on where it was."""
        head = bytes(self._ahead[begin:]) if 0 <= begin < len(self._ahead) else b""
        goes_on = 0 <= begin <= len(self._ahead) and self._ahead_from + len(self._ahead) > 0
        self._fetch_bytes = min(2 * self._fetch_bytes, MOST_BYTES) if goes_on else FIRST_BYTES
        start = self._position + len(head)
        missing = wanted - len(head)
        fetched = self._file.read_at(start, min(max(missing, self._fetch_bytes), self._size - start))
        if len(fetched) < missing:
            raise BadRowError(
                FileFault(f"{self._file.path} ended at byte {start + len(fetched)}; it should have {self._size}")
            )
        self._position += wanted
        self._ahead = memoryview(fetched)
        self._ahead_from = start
        return head + fetched[:missing] if head else fetched if missing == len(fetched) else fetched[:missing]
