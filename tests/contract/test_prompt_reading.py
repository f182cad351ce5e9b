"""What holds for every format that can be streamed in: any pieces, a block for each as it comes, going on."""

import importlib
from collections.abc import Generator, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from actors.formats.block import BadRowError, Block
from actors.formats.input import Input
from actors.formats.registry import read
from events.formats import FORMATS
from rota.options import Compression
from tests.contract.formats import arrow, avro
from tests.contract.formats.case import START, Case, rows_in, rows_of
from tests.contract.test_formats import COMPRESS


def _arrow(rows: Sequence[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, arrow.SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist(list(rows), arrow.SCHEMA), 3)
    return bytes(sink.getvalue())


def _avro(rows: Sequence[dict[str, Any]]) -> bytes:
    return avro.written(avro.SCHEMA, rows, sync_interval=60)


HEAD_BYTES = 1500
"""Of the files here: what stands before the rows is in it."""

WRITE = {"arrow": _arrow, "avro": _avro}
"""As streams are written, a few rows at a time."""


def _case(name: str) -> Case:
    case: Case = importlib.import_module(f"tests.contract.formats.{name}").CASE
    return replace(case, write=WRITE.get(name, case.write))


CASES = [_case(name) for name, format_ in FORMATS.items() if format_.streamed]

every_format = pytest.mark.parametrize("case", CASES, ids=lambda case: case.format)


class Stream:
    """Bytes that come in pieces, the same each time; it notes how many of them were asked for."""

    path = "stream"
    size: int | None = None
    media_type: str | None = None

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = [piece for piece in pieces if piece]
        self.taken = 0
        self.gone = range(0)
        """Offsets of bytes that are not there any more."""

    def chunks(self, offset: int = 0) -> Generator[bytes, None, None]:
        for number, piece in enumerate(self.pieces, 1):
            self.taken = number
            begin = sum(map(len, self.pieces[: number - 1]))
            assert offset >= len(piece) or begin not in self.gone or begin + len(piece) - 1 not in self.gone
            if offset < len(piece):
                yield piece[offset:]
            offset = max(0, offset - len(piece))
        self.taken = len(self.pieces) + 1

    def read_at(self, offset: int, size: int) -> bytes:
        return b"".join(self.pieces)[offset : offset + size]


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({place for place in places if 0 < place < len(body)})
    return [body[begin:end] for begin, end in zip([0, *ends], [*ends, len(body)], strict=True)]


def blocks_of(case: Case, pieces: Sequence[bytes], compression: Compression = "none", **start: Any) -> list[Block]:
    file = Input(Stream(pieces), compression, pieces_as_they_come=True)
    return list(read(case.format, file, case.options, start.get("start", START), start.get("schema")))


def check_each_start(case: Case, pieces: Sequence[bytes], compression: Compression = "none") -> None:
    blocks = blocks_of(case, pieces, compression)
    for index in range(len(blocks)):
        known = blocks[-1].table.schema if blocks[index].start.row else None
        again = blocks_of(case, pieces, compression, start=blocks[index].start, schema=known)
        assert [block.start for block in again] == [block.start for block in blocks[index:]]
        assert [block.table for block in again] == [block.table for block in blocks[index:]]


@every_format
@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000])
def test_rows_are_the_same_whatever_the_pieces_are(case: Case, size: int) -> None:
    rows = rows_of(40)
    body = case.write(rows)

    assert rows_in(blocks_of(case, cut(body, range(0, len(body), size)))) == case.expected(rows)


@every_format
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(places=st.lists(st.integers(0, 1200), max_size=30))
def test_reading_goes_on_from_each_block_with_the_same_ones(case: Case, places: list[int]) -> None:
    rows = rows_of(20)
    pieces = cut(case.write(rows), places)

    assert rows_in(blocks_of(case, pieces)) == case.expected(rows)
    check_each_start(case, pieces)


@every_format
@pytest.mark.parametrize("size", [1, 11, 100])
def test_reading_goes_on_from_each_block_of_small_pieces(case: Case, size: int) -> None:
    body = case.write(rows_of(12))

    check_each_start(case, cut(body, range(0, len(body), size)))


@every_format
def test_reading_goes_on_where_all_but_the_head_is_gone(case: Case) -> None:
    if case.format in {"xml", "yaml"}:
        return  # they are read again from the start, so that all is kept
    body = case.write(rows_of(200))
    pieces = cut(body, range(0, len(body), 50))
    blocks = blocks_of(case, pieces)

    for index in range(0, len(blocks), 7):
        start = blocks[index].start
        stream = Stream(pieces)
        stream.gone = range(HEAD_BYTES, start.offset)
        known = blocks[-1].table.schema if start.row else None
        again = read(case.format, Input(stream, pieces_as_they_come=True), case.options, start, known)
        assert [block.table for block in again] == [block.table for block in blocks[index:]]


@every_format
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_compressed_stream_is_read_as_it_comes(case: Case, compression: Compression) -> None:
    rows = rows_of(500)
    body = COMPRESS[compression](case.write(rows))
    pieces = cut(body, range(0, len(body), 100))

    assert rows_in(blocks_of(case, pieces, compression)) == case.expected(rows)
    check_each_start(case, pieces, compression)


@every_format
def test_rows_are_a_block_before_the_next_piece_is_asked_for(case: Case) -> None:
    rows = rows_of(60)
    body = case.write(rows)
    size = len(body) // 6
    stream = Stream(cut(body, range(0, len(body), size)))
    reached: list[tuple[int, int]] = []
    count = 0
    for block in read(case.format, Input(stream, pieces_as_they_come=True), case.options, START):
        count += block.table.num_rows
        reached.append((stream.taken, count))

    assert count == 60
    # Of a sixth of the bytes about a sixth of the rows, but for a header, and rows that may go on.
    slack = 9 if case.format in {"arrow", "avro"} else 4
    for taken in range(1, 7):
        had = max((rows for at, rows in reached if at <= taken), default=0)
        assert had >= taken * 10 - slack, (taken, reached)


@every_format
def test_a_stream_that_is_cut_is_no_shorter_stream(case: Case) -> None:
    body = case.write(rows_of(20))
    if not case.cut_shows:
        return

    with pytest.raises(BadRowError):
        blocks_of(case, cut(body[: len(body) // 2], range(0, len(body), 10)))


@every_format
def test_the_head_is_what_has_come(case: Case) -> None:
    stream = Stream([b"0123456789", b"abc"])
    file = Input(stream, pieces_as_they_come=True)

    assert (file.head(), file.head(4), stream.taken) == (b"0123456789", b"0123", 1)
