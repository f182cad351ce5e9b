"""The rows that a batch takes of each file, where it counts them over all files."""

from typing import Any

import msgspec

from actors.row_range import RowRange, row_range
from events.batch import BatchDetails
from events.batch_state import FileState


def details(**others: Any) -> BatchDetails:
    return BatchDetails("add", "default", ("a",), 10, 10, msgspec.Raw(b"\x80"), **others)


def test_a_file_is_passed_over_as_far_as_those_before_did_not_have_the_first_rows() -> None:
    files = [FileState(passed=4), FileState(passed=3, rows=5), FileState(rows=2), FileState()]

    assert [row_range(details(first=7), files, index).passed for index in range(4)] == [7, 3, 0, 0]


def test_the_limit_ends_where_the_files_before_have_so_many_rows() -> None:
    files = [FileState(passed=3, rows=5), FileState(rows=4), FileState()]

    assert [row_range(details(first=3, limit=9), files, index) for index in range(3)] == [
        RowRange(3, 12),
        RowRange(0, 4),
        RowRange(0, 0),
    ]
    assert [row_range(details(first=3, limit=9), files, index).is_empty for index in range(3)] == [
        False,
        False,
        True,
    ]


def test_rows_that_are_read_again_are_not_passed_over_but_count_for_the_limit() -> None:
    files = [FileState(passed=3, rows=5), FileState(mends=0)]

    assert row_range(details(first=10, limit=7), files, 1) == RowRange(0, 2)
