"""The cutter: the same jobs, wherever reading began."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.cutter import JOBS_PER_CUT, MANY_PARTS, MOST_BYTES, Cutter, JobLimits, MissingRowsError, Slice
from actors.formats.block import Block
from events.batch import FileFault, Position
from rota.errors import TooLargeError

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
    return [
        one
        for some in Cutter(JobLimits(rows_per_job), rows=rows, jobs=jobs).cut(blocks(sizes, start))
        for one in some.slices
    ]


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

    bodies = [one.body for some in Cutter(JobLimits(2)).cut(blocks) for one in some.slices]

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
    sizes = [len(some.slices) for some in Cutter(JobLimits(1)).cut(blocks([JOBS_PER_CUT * 2 + 50]))]

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


# By bytes

TEXT_BLOCKS = st.lists(st.lists(st.text("aä", max_size=9) | st.none(), max_size=6), min_size=1, max_size=6)
"""The texts of some blocks of rows."""


def text_blocks(blocks: Sequence[Sequence[str | None]], start: int = 0) -> Iterator[Block]:
    """Yield blocks with a column `n` of these texts, and `m` that is null throughout in some blocks."""
    row = 0
    for texts in blocks:
        if row >= start and texts:
            numbers = pa.array([row + index for index in range(len(texts))], pa.int64())
            yield Block(Position(row, row), pa.table({"n": pa.array(texts, pa.string()), "m": numbers}))
        row += len(texts)


def size_of(text: str | None) -> int:
    return 8 + len((text or "").encode())


def greedily(texts: Sequence[str | None], most_rows: int, most_bytes: int) -> list[int]:
    """Return how many rows each job has that is filled row by row."""
    counts: list[int] = []
    room = 0
    for text in texts:
        if not counts or counts[-1] >= most_rows or size_of(text) > room:
            counts.append(0)
            room = most_bytes
        counts[-1] += 1
        room -= size_of(text)
    return counts


def slices_of(cutter: Cutter, blocks: Iterable[Block | None]) -> list[Slice]:
    return [one for some in cutter.cut(blocks) for one in some.slices]


@given(TEXT_BLOCKS, st.integers(1, 8), st.integers(1, 60))
def test_a_job_ends_at_the_first_of_its_limits_whatever_the_blocks(
    blocks: list[list[str | None]], most_rows: int, most_bytes: int
) -> None:
    texts = [text for block in blocks for text in block]

    found = slices_of(Cutter(JobLimits(most_rows, most_bytes)), text_blocks(blocks))
    at_once = slices_of(Cutter(JobLimits(most_rows, most_bytes)), text_blocks([texts]))

    assert [one.count for one in found] == greedily(texts, most_rows, most_bytes)
    assert [one.count for one in at_once] == [one.count for one in found]
    assert [text for one in found for text in table(one)["n"].to_pylist()] == texts


@given(TEXT_BLOCKS, st.integers(1, 8) | st.none(), st.integers(1, 60) | st.none(), st.integers(0, 5), st.data())
def test_who_takes_over_at_any_job_makes_the_same_ones(
    blocks: list[list[str | None]], rows: int | None, bytes_: int | None, passed: int, data: st.DataObject
) -> None:
    limits = JobLimits(rows, bytes_)
    whole = slices_of(Cutter(limits, passed=passed), text_blocks(blocks))
    if not whole:
        return
    last = whole[data.draw(st.integers(0, len(whole) - 1))]
    told = whole[data.draw(st.integers(0, last.index))]

    over = Cutter(limits, rows=last.first_row + last.count - passed, jobs=last.index + 1, passed=passed)

    assert slices_of(over, text_blocks(blocks, told.position.row)) == whole[last.index + 1 :]


def test_the_size_of_a_row_does_not_depend_on_columns_that_come_later() -> None:
    early = [
        Block(Position(), pa.table({"a": [1, 2], "b": pa.nulls(2)})),
        Block(Position(2, 2), pa.table({"a": [3], "b": [4]})),
    ]
    late = [Block(Position(), pa.table({"a": [1, 2, 3], "b": [None, None, 4]}))]

    counts = [[one.count for one in slices_of(Cutter(JobLimits(None, 16)), blocks)] for blocks in (early, late)]

    assert counts == [[2, 1], [2, 1]]


def test_a_row_that_is_larger_than_a_job_is_a_job_alone_and_waits_for_no_other() -> None:
    def blocks() -> Iterator[Block]:
        yield Block(Position(), pa.table({"a": ["x", "y" * 100]}))
        assert [one.count for one in seen] == [1, 1]
        yield Block(Position(2, 2), pa.table({"a": [""]}))

    seen: list[Slice] = []
    for some in Cutter(JobLimits(None, 10)).cut(blocks()):
        seen += some.slices

    assert [one.count for one in seen] == [1, 1, 1]


def test_the_decoded_values_of_dictionaries_count() -> None:
    column = pa.array(["x" * 100] * 10).dictionary_encode()

    found = slices_of(Cutter(JobLimits(None, 250)), [Block(Position(), pa.table({"a": column}))])

    assert [one.count for one in found] == [2] * 5


def test_without_limits_all_rows_are_one_job_that_has_few_record_batches() -> None:
    [one] = slices_of(Cutter(JobLimits()), blocks([3] * (MANY_PARTS + 1)))

    assert one.count == 3 * (MANY_PARTS + 1)
    assert len(table(one)["n"].chunks) == 1
    assert table(one)["n"].to_pylist() == list(range(one.count))


def test_rows_that_no_message_holds_are_named_before_they_fill_the_memory() -> None:
    def blocks() -> Iterator[Block]:
        for row in range(0, 1000, 10):
            yield Block(Position(row, row), pa.table({"a": ["x" * 1024 * 1024] * 10}))

    with pytest.raises(
        TooLargeError, match=r"rows 1 to 70: \d+ bytes .* make rows_per_job or bytes_per_job smaller"
    ):
        slices_of(Cutter(JobLimits()), blocks())
    assert MOST_BYTES < 70 * 1024 * 1024


# By time


class Clock:
    """Shows what it is set to."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def timed(clock: Clock, steps: Iterable[tuple[float, Block | None]]) -> Iterator[Block | None]:
    """Yield each block when it is time."""
    for seconds, block in steps:
        clock.seconds = seconds
        yield block


def a_row(row: int, count: int = 1) -> Block:
    return Block(Position(row, row), pa.table({"n": list(range(row, row + count))}))


def test_rows_that_have_waited_long_enough_are_a_job_and_others_are_not() -> None:
    clock = Clock()
    steps = [
        (0.0, a_row(0)),
        (0.5, None),
        (0.9, a_row(1)),
        (1.0, None),
        (1.1, None),
        (1.5, a_row(2, 5)),
        (9.0, None),
    ]

    found = slices_of(Cutter(JobLimits(4, None, 1.0), clock=clock), timed(clock, steps))

    assert [(one.count, one.early) for one in found] == [(2, True), (4, False), (1, True)]


def test_an_early_job_is_handed_on_while_nothing_comes() -> None:
    clock = Clock()
    seen: list[int] = []

    def blocks() -> Iterator[Block | None]:
        yield a_row(0)
        clock.seconds = 2.0
        yield None
        assert seen == [0]

    for some in Cutter(JobLimits(4, None, 1.0), clock=clock).cut(blocks()):
        seen += [one.index for one in some.slices]


def test_jobs_that_another_reader_has_cut_early_end_there_and_no_sooner() -> None:
    clock = Clock()
    steps = [(0.0, a_row(0, 2)), (5.0, None), (5.0, a_row(2, 9)), (5.1, None), (7.0, None)]

    found = slices_of(Cutter(JobLimits(4, 8, 1.0), known={0: 3}, clock=clock), timed(clock, steps[:3]))
    assert [(one.count, one.early) for one in found] == [(3, False)] + [(1, False)] * 8

    found = slices_of(Cutter(JobLimits(4, None, 1.0), known={0: 3}, clock=clock), timed(clock, steps))
    assert [(one.count, one.early) for one in found] == [(3, False), (4, False), (4, False)]


def test_jobs_that_may_be_scheduled_already_are_not_cut_early() -> None:
    clock = Clock()
    steps = [(0.0, a_row(0, 3)), (5.0, None), (5.0, a_row(3, 3)), (9.0, None)]

    found = slices_of(Cutter(JobLimits(4, None, 1.0), timed_from=1, clock=clock), timed(clock, steps))

    assert [(one.count, one.early) for one in found] == [(4, False), (2, True)]


@given(st.lists(st.tuples(st.integers(1, 4), st.floats(0, 3)), min_size=1, max_size=8), st.data())
def test_early_cuts_are_made_again_by_who_takes_over(
    arrivals: list[tuple[int, float]], data: st.DataObject
) -> None:
    clock, later = Clock(), Clock()
    at, row = 0.0, 0
    steps: list[tuple[float, Block | None]] = []
    for count, pause in arrivals:
        steps += [(at, a_row(row, count)), (at + pause, None)]
        at, row = at + pause, row + count
    limits = JobLimits(3, None, 1.0)
    whole = slices_of(Cutter(limits, clock=clock), timed(clock, steps))
    last = whole[data.draw(st.integers(0, len(whole) - 1))]
    told = whole[data.draw(st.integers(0, last.index))]
    known = {one.index: one.count for one in whole if one.early and one.index > told.index}

    slowly = [
        (n * 10.0, block) for n, (_, block) in enumerate(steps) if block and block.start.row >= told.position.row
    ]
    over = Cutter(
        limits,
        rows=told.first_row + told.count,
        jobs=told.index + 1,
        known=known,
        timed_from=len(whole),
        clock=later,
    )

    again = [(one.index, one.first_row, one.count) for one in slices_of(over, timed(later, slowly))]
    assert again == [(one.index, one.first_row, one.count) for one in whole[told.index + 1 :]]


# A range of rows


def test_rows_before_the_first_and_after_the_end_are_left_out() -> None:
    asked: list[int] = []

    def blocks() -> Iterator[Block]:
        for row in (0, 4, 8, 12):
            asked.append(row)
            yield a_row(row, 4)

    found = slices_of(Cutter(JobLimits(3), passed=2, end=9), blocks())

    assert [(one.first_row, table(one)["n"].to_pylist()) for one in found] == [
        (2, [2, 3, 4]),
        (5, [5, 6, 7]),
        (8, [8]),
    ]
    assert asked == [0, 4, 8]


def test_bad_rows_after_the_end_are_none_of_the_batch() -> None:
    bad = [FileFault("a", row=2), FileFault("b", row=3), FileFault("c", row=4)]

    one, rest = Cutter(JobLimits(), end=3).cut([Block(Position(), pa.table({"n": range(5)}), bad)])

    assert [fault.message for fault in one.bad] == ["a"]
    assert [table(last)["n"].to_pylist() for last in rest.slices] == [[0, 1, 2]]


def test_a_file_that_is_shorter_than_what_is_passed_over_has_no_jobs() -> None:
    cutter = Cutter(JobLimits(3), passed=10)

    assert slices_of(cutter, blocks([4, 2])) == []
    assert cutter.reached == 6


def test_a_file_that_has_fewer_rows_than_its_jobs_is_an_error() -> None:
    with pytest.raises(MissingRowsError, match="4 rows after the first 2 are in jobs, and it has 5"):
        slices_of(Cutter(JobLimits(3), passed=2, rows=4, jobs=2), blocks([5]))


# Forms


@pytest.mark.parametrize(
    ("form", "decoded"),
    [
        ("arrow", lambda body: pa.ipc.open_stream(body).read_all().to_pylist()),
        ("json", lambda body: orjson.loads(bytes(body))),
    ],
)
def test_the_form_changes_no_job(form: Any, decoded: Callable[[Any], Any]) -> None:
    found = slices_of(Cutter(JobLimits(None, 24), form=form), blocks([4, 3]))

    assert [decoded(one.body) for one in found] == [
        [{"n": 0}, {"n": 1}, {"n": 2}],
        [{"n": 3}, {"n": 4}, {"n": 5}],
        [{"n": 6}],
    ]
    assert all(hashlib.sha256(one.body).hexdigest() == one.sha256 for one in found)
