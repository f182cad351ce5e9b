"""The cutter: the same jobs, wherever reading began."""

import hashlib
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.cutter import JOBS_PER_CUT, Slice, cut
from actors.formats.block import Block
from events.batch import Position

ROW_BYTES = 10


def blocks(sizes: list[int], start: int = 0) -> Iterator[Block]:
    """Yield blocks of so many rows, from a row on; each row is ten bytes long and holds its number."""
    row = 0
    for size in sizes:
        if row >= start:
            numbers = pa.array(range(row, row + size), pa.int64())
            yield Block(Position(row * ROW_BYTES, row, row + 2), pa.table({"n": numbers}))
        row += size


def slices(sizes: list[int], rows_per_job: int, *, start: int = 0, rows: int = 0, jobs: int = 0) -> list[Slice]:
    return [one for some in cut(blocks(sizes, start), rows_per_job, rows=rows, jobs=jobs) for one in some.slices]


def table(one: Slice) -> pa.Table:
    return pa.ipc.open_stream(one.body).read_all()


def test_every_job_but_the_last_has_the_same_number_of_rows() -> None:
    found = slices([7, 5, 1], 5)

    assert [(one.index, one.first_row, one.count) for one in found] == [(0, 0, 5), (1, 5, 5), (2, 10, 3)]
    assert [table(one)["n"].to_pylist() for one in found] == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [10, 11, 12],
    ]


def test_a_job_is_an_arrow_stream_with_its_digest() -> None:
    [one] = slices([3], 10)

    assert hashlib.sha256(one.body).hexdigest() == one.sha256
    assert table(one).schema == pa.schema([("n", pa.int64())])


@pytest.mark.parametrize(
    "column",
    [
        pa.array([True, None, False, True, True]),
        pa.array(["", None, "a", "bc", ""]),
        pa.array([[1, None], [], None, [2], [3, 4, 5]], pa.list_(pa.int8())),
        pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}, {"a": 2, "b": None}, {"a": 3, "b": "z"}]),
        pa.array([[("a", 1)], [], None, [("b", 2), ("c", 3)], []], pa.map_(pa.string(), pa.int64())),
        pa.array([bytes([n]) * 16 for n in range(5)], pa.uuid()),
        pa.nulls(5),
        pa.array(["a", "b", "a", "b", "c"]).dictionary_encode(),
        pa.array([["a"], ["b"], [], ["a", "b"], None], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
    ],
    ids=lambda column: str(column.type),
)
def test_a_body_has_the_bytes_that_arrows_writer_makes(column: pa.Array) -> None:
    schema = pa.schema([pa.field("x", column.type, metadata={"unit": "m"})], metadata={"made": "here"})
    rows = pa.table([column], schema=schema)
    blocks = [Block(Position(), rows.slice(0, 3)), Block(Position(3, 3, 3), rows.slice(3))]

    bodies = [one.body for some in cut(blocks, 2, rows=0, jobs=0) for one in some.slices]

    parts = [[rows.slice(0, 2)], [rows.slice(2, 1), rows.slice(3, 1)], [rows.slice(4)]]
    for body, tables in zip(bodies, parts, strict=True):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as writer:
            for some in tables:
                writer.write_table(some)
        assert body.to_pybytes() == sink.getvalue().to_pybytes()


def test_no_rows_are_no_jobs() -> None:
    assert slices([], 5) == []


def test_jobs_are_handed_on_in_groups_of_a_limited_size() -> None:
    sizes = [len(some.slices) for some in cut(blocks([JOBS_PER_CUT * 2 + 50]), 1, rows=0, jobs=0)]

    assert sizes == [JOBS_PER_CUT, JOBS_PER_CUT, 50]


def test_reading_can_go_on_at_the_block_of_the_first_row_that_is_not_in_a_job() -> None:
    positions = [one.position.row for one in slices([7, 5, 3], 5)]

    # Rows 5 and 6 are in the first block, row 10 is in the second, and after row 14 nothing comes.
    assert positions == [0, 7, 12]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(1, 15))
def test_all_rows_are_cut_once_and_in_order(sizes: list[int], rows_per_job: int) -> None:
    found = slices(sizes, rows_per_job)

    assert [n for one in found for n in table(one)["n"].to_pylist()] == list(range(sum(sizes)))
    assert [one.index for one in found] == list(range(len(found)))


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(1, 15), st.data())
def test_the_jobs_are_the_same_from_every_position_to_go_on_from(
    sizes: list[int], rows_per_job: int, data: st.DataObject
) -> None:
    whole = slices(sizes, rows_per_job)
    done = data.draw(st.integers(1, len(whole)))
    last = whole[done - 1]
    rest = slices(
        sizes, rows_per_job, start=last.position.row, rows=last.first_row + last.count, jobs=last.index + 1
    )

    assert rest == whole[done:]


@pytest.mark.parametrize("rows_per_job", [1, 4, 100])
def test_a_position_never_stands_after_a_row_that_is_not_in_a_job(rows_per_job: int) -> None:
    for one in slices([3, 9, 2, 4], rows_per_job):
        assert one.position.row <= one.first_row + one.count
