"""Formats whose streams are not kept: what they cannot read then is an error that says so."""

import random
from collections.abc import Callable, Generator

import pyarrow as pa
import pytest

from actors.formats.arrow import KEPT_BYTES
from actors.formats.block import BadRowError, Block
from actors.formats.input import FADING_BYTES, Input
from actors.formats.registry import read
from events.batch import Position
from events.jetstream.chunks import HEAD_BYTES
from rota.errors import TooLargeError
from rota.options import ArrowOptions
from tests.contract.formats.case import START

PIECE = 100_000
NAMES = pa.array(["Ada", "Grace", "Edsger"])
TEXT = "x" * 1000


class Stream:
    """A stream of which all is gone but its head and what follows a place."""

    path = "stream"
    size: int | None = None
    media_type: str | None = None

    def __init__(self, body: bytes, there_from: int = 0) -> None:
        self._body = body
        self._there_from = there_from

    def chunks(self, offset: int = 0) -> Generator[bytes, None, None]:
        for begin in range(offset, len(self._body), PIECE):
            piece = self._body[begin : begin + PIECE]
            assert begin >= self._there_from or begin < KEPT_BYTES, f"byte {begin} is gone"
            yield piece

    def read_at(self, offset: int, size: int) -> bytes:
        return self._body[offset : offset + size]


def written(batches: list[pa.RecordBatch], make: Callable[..., pa.ipc.RecordBatchStreamWriter]) -> bytes:
    sink = pa.BufferOutputStream()
    with make(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def batch_of(number: int, names: pa.Array = NAMES) -> pa.RecordBatch:
    """Return rows of about a MiB, with a column that has a dictionary."""
    indices = pa.array([(number + n) % len(names) for n in range(1000)], pa.int8())
    columns = [pa.DictionaryArray.from_arrays(indices, names), pa.array([f"{number} {TEXT}"] * 1000)]
    return pa.RecordBatch.from_arrays(columns, names=["name", "text"])


def blocks_of(stream: Stream, start: Position = START) -> list[Block]:
    return list(read("arrow", Input(stream, pieces_as_they_come=True), ArrowOptions(), start))


def test_what_is_kept_of_a_stream_is_what_the_format_counts_on() -> None:
    assert KEPT_BYTES == HEAD_BYTES


def test_an_arrow_file_cannot_be_streamed() -> None:
    body = written([batch_of(0)], pa.ipc.new_file)

    with pytest.raises(BadRowError, match="only Arrow's stream format can be read as it comes"):
        blocks_of(Stream(body))


def test_dictionaries_of_the_head_are_known_when_reading_goes_on() -> None:
    body = written([batch_of(n) for n in range(8)], pa.ipc.new_stream)
    blocks = blocks_of(Stream(body))

    for index, block in enumerate(blocks):
        again = blocks_of(Stream(body, there_from=block.start.offset), block.start)
        assert [one.table for one in again] == [one.table for one in blocks[index:]]


def test_a_dictionary_behind_the_head_is_an_error_that_says_what_helps() -> None:
    other = pa.array(["Barbara", "Donald"])
    body = written([*(batch_of(n) for n in range(6)), batch_of(6, other)], pa.ipc.new_stream)
    rows = 0

    with pytest.raises(BadRowError, match="a dictionary stands behind the first 4194304 bytes"):  # noqa: PT012 - the blocks before count
        for block in read("arrow", Input(Stream(body), pieces_as_they_come=True), ArrowOptions(), START):
            rows += block.table.num_rows

    assert rows == 6000
    kept = Input(Stream(pa.compress(body, "gzip", asbytes=True)), "gzip", pieces_as_they_come=True)
    assert sum(block.table.num_rows for block in read("arrow", kept, ArrowOptions(), START)) == 7000


def test_a_record_batch_for_which_the_sender_would_be_held_back_for_ever_is_too_large() -> None:
    values = pa.array([random.Random(1).randbytes(FADING_BYTES + 1)], pa.large_binary())
    body = written([pa.RecordBatch.from_arrays([values], names=["x"])], pa.ipc.new_stream)

    with pytest.raises(TooLargeError, match=f"at most {FADING_BYTES} are read"):
        blocks_of(Stream(body))
