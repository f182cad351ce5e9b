"""What a format brings to the suite that all formats pass: how its files are written, and how they break."""

from collections.abc import Callable, Generator, Sequence
from typing import Any

import pyarrow as pa
from msgspec import Struct

from actors.formats.block import Block
from actors.formats.input import Input
from actors.formats.limits import Limits
from actors.formats.registry import read
from events.batch import Position
from rota.options import BadRows, Compression, Options

START = Position()


class Body:
    """A file in memory that arrives in pieces of a length."""

    def __init__(
        self, body: bytes, path: str = "rows.file", *, piece: int = 1 << 20, media: str | None = None
    ) -> None:
        self.path = path
        self.size: int | None = len(body)
        self.media_type = media
        self._body = body
        self._piece = piece

    def chunks(self, offset: int = 0) -> Generator[bytes, None, None]:
        for start in range(offset, len(self._body), self._piece):
            yield self._body[start : start + self._piece]

    def read_at(self, offset: int, size: int) -> bytes:
        return self._body[offset : offset + size]


class BadSample(Struct):
    """A file with rows that cannot be read among others that can."""

    body: bytes
    rows: list[dict[str, Any]]
    """The rows that can be read."""
    before: int
    """How many of them stand before the first bad one."""
    says: list[str]
    """What the message of the first says: its place, column, text, and the option that would take it."""
    bad: int = 1
    options: Options | None = None


class Case(Struct, kw_only=True):
    """One format in the suite."""

    format: str
    options: Options
    write: Callable[[Sequence[dict[str, Any]]], bytes]
    """Write the rows of `rows_of` as a file, by another library than the one that reads it if possible."""
    expected: Callable[[Sequence[dict[str, Any]]], list[dict[str, Any]]] = list
    """What is read of the rows that were written, where the format cannot hold all of their types."""
    many: int = 20_000
    """So many rows that they are several blocks."""
    typed: dict[str, tuple[bytes, pa.DataType, list[Any]]] = {}
    """By what is kept (`uint64`, ...): a file with a column `x`, and the type and the values that are read."""
    bad: list[BadSample] = []
    broken: dict[str, bytes] = {}
    """By what is wrong with it: a file that is cut or lies. Rows from the first on are read, then an error."""
    cut_shows: bool = True
    """Whether a file that is cut anywhere before its last byte shows that it was."""
    empty: bytes | None = None
    """A file of the format without rows, as its users write one; None if there is no such file."""
    empty_file_is_error: bool = True
    """Whether no bytes at all are an error, or no rows."""
    too_deep: bytes | None = None
    """A file that is nested a thousand levels deep."""
    one_row_a_file: bool = False


def rows_of(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Return rows with an integer, a text (not only ASCII, sometimes empty), a number and a truth value."""
    return [
        {"id": n, "name": "" if n % 7 == 3 else f"Zoë {n} “{n * 31 % 97}”", "price": n / 4, "paid": n % 3 == 0}
        for n in range(first, first + count)
    ]


def blocks_of(
    case: Case,
    body: bytes,
    *,
    start: Position = START,
    schema: pa.Schema | None = None,
    piece: int = 1 << 20,
    options: Options | None = None,
    bad_rows: BadRows = "fail",
    compression: Compression = "none",
    limits: Limits | None = None,
) -> list[Block]:
    """Read a file to its end."""
    file = Input(Body(body, piece=piece), compression, limits)
    return list(read(case.format, file, options or case.options, start, schema, bad_rows=bad_rows))


def rows_in(blocks: Sequence[Block]) -> list[dict[str, Any]]:
    """Return the rows of blocks."""
    return [row for block in blocks for row in block.table.to_pylist()]
