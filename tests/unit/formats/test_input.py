"""A file as formats read it: the same bytes in pieces, at once, or at random, however they are stored."""

import gzip
import random
from collections.abc import Generator

import pyarrow as pa
import pytest
from pyarrow import parquet

from actors.formats.block import BadRowError
from actors.formats.input import AT_ONCE_BYTES, GRID_BYTES, HEAD_BYTES, Input
from actors.formats.limits import Limits
from rota.errors import TooLargeError
from rota.options import Compression

BODY = random.Random(1).randbytes(2 * GRID_BYTES + 12_345)
STORED = gzip.compress(BODY, 1)


class Stored:
    """A file that counts its requests; it may lie about its size."""

    path = "orders.csv"
    media_type: str | None = None

    def __init__(self, body: bytes, size: int | None = -1) -> None:
        self.size: int | None = len(body) if size == -1 else size
        self.requests: list[int] = []
        self._body = body

    def chunks(self, offset: int = 0) -> Generator[bytes, None, None]:
        for start in range(offset, len(self._body), 100_000):
            yield self._body[start : start + 100_000]

    def read_at(self, offset: int, size: int) -> bytes:
        self.requests.append(size)
        return self._body[offset : offset + size]


def inputs() -> list[Input]:
    return [Input(Stored(BODY)), Input(Stored(BODY, None)), Input(Stored(STORED), "gzip")]


every_input = pytest.mark.parametrize("number", range(3), ids=["plain", "of unknown size", "gzip"])


@every_input
@pytest.mark.parametrize("offset", [0, 5, GRID_BYTES, GRID_BYTES + 1, len(BODY)])
def test_pieces_end_at_the_same_places_wherever_reading_begins(number: int, offset: int) -> None:
    found = list(inputs()[number].chunks(offset))

    ends = [offset]
    for piece in found:
        ends.append(ends[-1] + len(piece))
    assert b"".join(found) == BODY[offset:]
    assert all(end % GRID_BYTES == 0 for end in ends[1:-1])


@every_input
def test_a_file_can_be_read_at_random(number: int) -> None:
    chance = random.Random(2)
    with inputs()[number].open() as file:
        assert file.read() == BODY
        for _ in range(100):
            offset, size = chance.randrange(len(BODY)), chance.choice([1, 100, 70_000, 1 << 20])
            assert file.seek(offset) == offset
            assert file.read(size) == BODY[offset : offset + size]
            assert file.tell() == min(offset + size, len(BODY))
        file.seek(-5, 2)
        assert file.read(10) == BODY[-5:]
        assert file.read(10) == b""


@every_input
def test_the_head_is_the_first_bytes(number: int) -> None:
    file = inputs()[number]

    assert (file.head(), file.head(3)) == (BODY[:HEAD_BYTES], BODY[:3])


def test_the_head_of_a_short_file_is_all_of_it() -> None:
    file = Stored(b"abc")
    read = Input(file)

    assert (read.head(), read.head(2), len(file.requests)) == (b"abc", b"ab", 1)


def test_the_head_of_a_cut_file_is_what_can_be_read() -> None:
    assert Input(Stored(gzip.compress(b"abc")[:-3]), "gzip").head() == b"abc"


def test_reading_on_takes_few_requests() -> None:
    stored = Stored(BODY)
    with Input(stored).open() as file:
        while file.read(10_000):
            pass

    assert len(stored.requests) < 12
    assert sum(stored.requests) == len(BODY)


def test_reading_here_and_there_fetches_little() -> None:
    stored = Stored(BODY)
    with Input(stored).open() as file:
        for offset in (8_000_000, 1_000_000, 5_000_000):
            file.seek(offset)
            file.read(10)

    assert stored.requests == [64 * 1024] * 3


def test_a_small_file_is_fetched_at_once() -> None:
    stored = Stored(BODY[:AT_ONCE_BYTES])
    with Input(stored).open() as file:
        file.seek(10)
        assert file.read(10) == BODY[10:20]

    assert stored.requests == []


@pytest.mark.parametrize("length", [100, 3 * AT_ONCE_BYTES])
def test_a_file_that_ends_before_its_size_is_an_error(length: int) -> None:
    file = Input(Stored(BODY[:length], length + 1))

    with pytest.raises(BadRowError, match=rf"ended at byte {length}; it should have {length + 1}"):
        file.open().read()


def test_pyarrow_reads_it() -> None:
    table = pa.table({"x": range(300_000)})
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)

    with Input(Stored(sink.getvalue().to_pybytes())).open() as file:
        assert parquet.ParquetFile(file).read().equals(table)


@pytest.mark.parametrize(("stored", "compression"), [(BODY, "none"), (STORED, "gzip")])
def test_a_file_that_is_too_large_for_memory_is_an_error(stored: bytes, compression: Compression) -> None:
    with pytest.raises(TooLargeError, match=r"larger than 1000 bytes, and its format cannot be read in pieces"):
        Input(Stored(stored), compression, Limits(whole_bytes=1000)).whole()


def test_a_file_that_is_too_large_for_the_disk_is_an_error() -> None:
    with pytest.raises(TooLargeError, match=r"larger than 1000 bytes, and its format is read at random"):
        Input(Stored(STORED), "gzip", Limits(spool_bytes=1000)).open()


def test_going_on_behind_the_end_of_a_compressed_file_is_an_error() -> None:
    with pytest.raises(BadRowError, match="ended 5 bytes before the place"):
        list(Input(Stored(STORED), "gzip").chunks(len(BODY) + 5))
