"""The head of a file: its first blocks of rows, and how many of its bytes they take, read for a look at it."""

import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct
from msgspec.structs import replace

from actors.formats.block import BadRowError, Block
from actors.formats.input import Input
from actors.formats.registry import read
from actors.opening import kinds, options_of
from actors.sources.errors import SourceError
from actors.sources.file import SourceFile
from events.batch import BatchDetails, FileFault, Position
from events.formats import WITHOUT_OFFSETS, formats
from events.sources import Connection
from rota.errors import NotFoundError, TooLargeError
from rota.options import Compression

HEAD_ROWS = 10_000
HEAD_BYTES = 8 * 1024 * 1024
"""Rows as Arrow holds them."""
HEAD_SECONDS = 5.0
"""From the opened file on."""
MOST_SECONDS = 12.0
"""With the opening, for which a server is tried a few times; nothing is waited for longer."""
FEED_BYTES = 64 * 1024
"""What is counted at once of a file's bytes: they are read by far more."""

log = logging.getLogger("rota.dry_run")


class Head(Struct):
    """What was found out of a file, as far as it goes."""

    path: str
    size: int | None = None
    version: str | None = None
    format: str | None = None
    compression: Compression | None = None
    blocks: list[Block] = []
    whole: bool = False
    """Whether the blocks have all rows of the file."""
    rows_counted: int | None = None
    """Rows that the file says it has, of a format in which it does."""
    row_bytes: float | None = None
    """Bytes of a row as it is stored."""
    error: str | None = None
    """Why the file cannot be read on."""

    @property
    def schema(self) -> pa.Schema | None:
        """The columns that are known."""
        return self.blocks[-1].table.schema if self.blocks else None

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return self.blocks[-1].start.row + self.blocks[-1].table.num_rows if self.blocks else 0

    @property
    def rows_in_all(self) -> int | None:
        """How many rows the whole file has, as far as that can be told."""
        if self.error is not None:
            return None
        if self.whole:
            return self.rows
        if self.rows_counted is not None:
            return self.rows_counted
        if self.size is None or not self.row_bytes:
            return None
        return max(self.rows, round(self.size / self.row_bytes))

    @property
    def bad(self) -> list[FileFault]:
        """The bad rows that were met."""
        return [fault for block in self.blocks for fault in block.bad]


def read_head(source: Connection | None, path: str, details: BatchDetails) -> Head:
    """Read the first HEAD_ROWS rows, HEAD_BYTES or HEAD_SECONDS of a file, and the block in which these end.

    What goes wrong stands in the head. Bad rows are in its blocks, whatever the batch does with them.
    """
    looking = _Looking(source, path, details)
    if not within(MOST_SECONDS, looking.run, f"look at {path}"):
        return looking.given_up()
    return looking.head


def within(seconds: float, work: Callable[[], None], name: str) -> bool:
    """Do something in a thread, and wait so long for it; say whether it is done. Its errors are its own."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


class _Looking:
    """Reads a head in a thread that may be left alone: it opens and closes the file itself."""

    def __init__(self, source: Connection | None, path: str, details: BatchDetails) -> None:
        self._source = source
        self._details = details
        self._given_up = threading.Event()
        self.head = Head(path)

    def given_up(self) -> Head:
        """Let the thread end as soon as it can, and return what it has found by now."""
        self._given_up.set()
        head = replace(self.head, blocks=list(self.head.blocks))
        if not head.blocks and head.error is None:
            head.error = f"{head.path}: nothing of it could be read within {MOST_SECONDS:g} s"
        return head

    def run(self) -> None:
        """Read the head; what goes wrong is noted in it."""
        head = self.head
        try:
            self._read()
        except BadRowError as error:
            head.error = str(error)
        except (SourceError, NotFoundError, TooLargeError) as error:
            message = str(error)
            head.error = message if head.path in message else f"{head.path}: {message}"
        except MemoryError:
            head.error = f"{head.path} takes more memory than ROTA_READER_MEMORY_BYTES allows"
        except Exception as error:
            log.exception("%s cannot be looked at", head.path)
            head.error = f"{head.path} cannot be read: {type(error).__name__}"

    def _read(self) -> None:
        head, details = self.head, self._details
        with closing(SourceFile(self._source, head.path)) as file:
            head.size, head.version = file.size, file.version
            head.format, head.compression = kinds(file, details)
            counted = _Counted(file)
            plain = _CountedInput(counted, head.compression, fine=head.format in WITHOUT_OFFSETS)
            try:
                self._read_blocks(plain, head.format)
            finally:
                head.row_bytes = _row_bytes(head, counted.taken, plain)
            if head.format == "parquet":
                head.rows_counted = _rows_of_parquet(plain)
                head.row_bytes = head.size / head.rows_counted if head.size and head.rows_counted else None

    def _read_blocks(self, file: Input, format_: str) -> None:
        options = options_of(self._details, format_)
        blocks = cast("Generator[Block, None, None]", read(format_, file, options, Position(), bad_rows="skip"))
        until = time.monotonic() + HEAD_SECONDS
        size = 0
        with closing(blocks):
            for block in blocks:
                # One block more than would be enough: only so is it known whether there is one.
                enough = self.head.rows >= HEAD_ROWS or size >= HEAD_BYTES
                self.head.blocks.append(block)
                size += block.table.nbytes
                if enough or time.monotonic() >= until or self._given_up.is_set():
                    return
        self.head.whole = True


class _Counted:
    """A file that knows how many of its bytes were taken in order."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self.path = file.path
        self.size = file.size
        self.version = file.version
        self.media_type = file.media_type
        self.taken = 0

    def chunks(self, offset: int = 0) -> Generator[bytes, None, None]:
        """Yield the bytes from an offset on, in small pieces."""
        with closing(self._file.chunks(offset)) as chunks:
            for chunk in chunks:
                for start in range(0, len(chunk), FEED_BYTES):
                    piece = chunk[start : start + FEED_BYTES]
                    offset += len(piece)
                    self.taken = max(self.taken, offset)
                    yield piece

    def read_at(self, offset: int, size: int) -> bytes:
        """Return bytes from anywhere, which are not counted."""
        return self._file.read_at(offset, size)


class _CountedInput(Input):
    """A file for a format that knows how many decompressed bytes were taken in order."""

    def __init__(self, file: _Counted, compression: Compression, *, fine: bool) -> None:
        super().__init__(file, compression)
        self._fine = fine
        self.come = 0
        """Bytes that were decompressed for it, of which the format may not have taken all."""
        self.taken = 0

    def chunks(self, offset: int = 0) -> Generator[bytes, None, None]:
        """Yield the bytes from an offset on, as a batch's reader gets them unless they are to be `fine`."""
        with closing(super().chunks(offset)) as chunks:
            for chunk in chunks:
                self.come = max(self.come, offset + len(chunk))
                step = FEED_BYTES if self._fine else max(1, len(chunk))
                for start in range(0, len(chunk), step):
                    piece = chunk[start : start + step]
                    offset += len(piece)
                    self.taken = max(self.taken, offset)
                    yield piece


def _row_bytes(head: Head, stored: int, file: _CountedInput) -> float | None:
    """Return how many stored bytes a row takes, if its format tells; bad rows count to the good ones.

    `stored` bytes were taken for what has come of the decompressed file.
    """
    if head.whole:
        return head.size / head.rows if head.size and head.rows else None
    if not head.rows:
        return None
    share = stored / file.come if file.come else 1.0  # it was read here and there, as only a plain file is
    if head.format in WITHOUT_OFFSETS:
        return share * file.taken / head.rows
    if not (head.format and formats()[head.format].streamed):
        return None
    first = last = head.blocks[0].start
    for block in head.blocks:
        # Blocks of one record batch all have its offset, and only the first of them begins there.
        if block.start.offset > last.offset:
            last = block.start
    return share * (last.offset - first.offset) / last.row if last.row else None


def _rows_of_parquet(file: Input) -> int:
    """Return how many rows the footer tells of a file that could be read."""
    with closing(file.open()) as body:
        return int(pq.ParquetFile(body).metadata.num_rows)
