"""The rows of a file that are read again: by their numbers among all rows, good and bad."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.formats.block import BadRowError, Block
from actors.picker import pick, quarantined_numbers
from events.batch import FileFault, Position, RowsQuarantined


def blocks(rows: Sequence[bool], sizes: Sequence[int]) -> list[Block]:
    """Return a file of good and bad rows in blocks; each good row is its number among all."""
    found: list[Block] = []
    at = good = bad = 0
    for size in [*sizes, len(rows)]:
        some = list(enumerate(rows[at : at + size], start=at))
        if not some:
            continue
        start = Position(row=good, bad=bad)
        faults = []
        numbers = []
        for number, is_good in some:
            if is_good:
                numbers.append(number)
                good += 1
            else:
                faults.append(FileFault(f"row {number}", row=good))
                bad += 1
        found.append(Block(start, pa.table({"n": pa.array(numbers, pa.int64())}), faults))
        at += size
    return found


@given(st.lists(st.booleans(), max_size=20), st.lists(st.integers(1, 5), max_size=5), st.sets(st.integers(0, 22)))
def test_the_rows_with_these_numbers_are_picked_and_those_that_are_bad_or_gone_are_bad(
    rows: list[bool], sizes: list[int], numbers: set[int]
) -> None:
    wanted = sorted(numbers)

    found = [block for block in pick(blocks(rows, sizes), wanted, "a.csv", bad_rows="skip") if block]

    good = [number for number in wanted if number < len(rows) and rows[number]]
    bad = [number for number in wanted if number not in good]
    assert [n for block in found for n in block.table.to_pydict().get("n", [])] == good
    assert [fault.number for block in found for fault in block.bad] == bad
    assert [fault.row for block in found for fault in block.bad] == [
        sum(1 for other in good if other < number) for number in bad
    ]
    assert [block.start for block in found] == [
        Position(
            row=sum(before.table.num_rows for before in found[:index]),
            bad=sum(len(before.bad) for before in found[:index]),
        )
        for index in range(len(found))
    ]


def test_a_row_that_is_not_there_any_more_is_named() -> None:
    [block] = pick(blocks([True], []), [4], "a.csv", bad_rows="quarantine")

    assert block
    assert block.bad[0].message == "a.csv has no row 5 any more: it ended before"


def test_where_bad_rows_fail_the_rows_before_the_first_are_picked() -> None:
    rows = [True, False, True, False, True]
    picked = pick(blocks(rows, []), [0, 2, 3, 4], "a.csv", bad_rows="fail")

    first = next(picked)
    assert first
    assert first.table["n"].to_pylist() == [0, 2]
    with pytest.raises(BadRowError, match="row 3"):
        next(picked)


def test_nothing_is_read_after_the_last_row_that_is_wanted() -> None:
    asked: list[int] = []

    def watched() -> Iterator[Block]:
        for block in blocks([True] * 9, [3, 3]):
            asked.append(block.start.row)
            yield block

    assert len(list(pick(watched(), [1, 5], "a.csv", bad_rows="skip"))) == 2
    assert asked == [0, 3]


def quarantined(index: int, bad_before: int, *faults: FileFault) -> RowsQuarantined:
    return RowsQuarantined(
        originator_id="b",
        originator_version=1,
        at=datetime.now(UTC),
        file_index=index,
        bad_before=bad_before,
        faults=faults,
    )


def test_quarantined_rows_have_numbers_also_in_events_that_do_not_say_them() -> None:
    events = [
        quarantined(0, 0, FileFault("a", row=2), FileFault("b", row=2)),
        quarantined(1, 0, FileFault("other", row=9)),
        quarantined(0, 2, FileFault("c", row=5)),
        quarantined(0, 3, FileFault("d", row=7, number=40)),
    ]

    assert quarantined_numbers(events, 0) == [2, 3, 7, 40]
