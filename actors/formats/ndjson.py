"""NDJSON: one JSON value a line."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing

import numpy as np
import pyarrow as pa

from actors.formats.block import BadRowError, Block
from actors.formats.columns import Place
from actors.formats.input import Input
from actors.formats.json_elements import Positions
from actors.formats.json_encoding import check_encoding, mark_bytes
from actors.formats.json_rows import BLOCK_ROWS, JsonRows, Texts
from actors.formats.json_value import JsonValueError
from events.batch import Position
from rota.errors import TooLargeError
from rota.options import NdjsonOptions

LINE_FEED, CARRIAGE_RETURN, OPENING, CLOSING = b"\n\r{}"


def read(file: Input, options: NdjsonOptions, start: Position, schema: pa.Schema | None) -> Iterator[Block]:
    """Yield the rows from a position on, in blocks of a few megabytes."""
    rows = JsonRows(file, options, schema)
    with closing(file.chunks(start.offset)) as chunks:
        for body in _cut(file, chunks, first=start.offset == 0):
            begin = 0
            if start.offset == 0:
                begin = mark_bytes(body)
                start = Position(begin)
            ends = np.flatnonzero(np.frombuffer(body, np.uint8) == LINE_FEED)
            if body[-1] != LINE_FEED:
                ends = np.append(ends, len(body))
            for first in range(0, len(ends), BLOCK_ROWS):
                some = ends[first : first + BLOCK_ROWS]
                end = min(int(some[-1]) + 1, len(body))
                start = yield from _block(file, rows, body[begin:end], some - begin, start)
                begin = end


def _block(
    file: Input, rows: JsonRows, body: bytes, ends: Positions, start: Position
) -> Generator[Block, None, Position]:
    """Yield the rows of some lines, and return the position after them."""
    starts = np.concatenate((np.zeros(1, np.intp), ends[:-1] + 1))
    long = np.flatnonzero(ends - starts > file.limits.row_bytes)
    if len(long):
        starts, ends = starts[: long[0]], ends[: long[0]]
    cut = body[-1] != LINE_FEED

    def place(index: int) -> Place:
        return Place(f"line {start.line + index}", start.line + index)

    def stops(index: int, error: JsonValueError | None) -> str | None:
        last = cut and index == len(starts) - 1 and error is not None
        return f"the file ends in the middle of a value ({error})" if last else None

    texts = Texts(body, starts, ends, place, stops, None if len(long) else _records(body, starts, ends))
    found = rows.read(texts, start)
    if found.block.table.num_rows or found.block.bad:
        yield found.block
    if found.stop is not None:
        raise BadRowError(found.stop)
    if len(long):
        line = start.line + int(long[0])
        raise TooLargeError(f"{file.path}, line {line}: it is longer than {file.limits.row_bytes} bytes")
    return Position(
        start.offset + len(body),
        start.row + found.block.table.num_rows,
        start.line + len(ends),
        bad=start.bad + len(found.block.bad),
    )


def _cut(file: Input, chunks: Iterable[bytes], *, first: bool) -> Iterator[bytes]:
    """Cut bytes into whole lines, up to one that is too long."""
    rest = b""
    for chunk in chunks:
        if first:
            check_encoding(file.path, chunk)
            first = False
        end = chunk.rfind(b"\n") + 1
        if not end:
            rest += chunk
            if len(rest) > file.limits.row_bytes:
                break
            continue
        body = b"".join((rest, memoryview(chunk)[:end])) if rest or end < len(chunk) else chunk
        rest = chunk[end:]
        yield body
    if rest:
        yield rest


def _records(body: bytes, starts: Positions, ends: Positions) -> bytes | None:
    """Return the lines if each begins with `{` and ends with `}`: then no value can go over the end of a line."""
    characters = np.frombuffer(body, np.uint8)
    last = ends - 1
    if (last < starts).any():
        return None
    if characters[last[0]] == CARRIAGE_RETURN:
        last = last - (characters[last] == CARRIAGE_RETURN)
    uniform = (characters[starts] == OPENING).all() and (characters[last] == CLOSING).all()
    return body if uniform else None
