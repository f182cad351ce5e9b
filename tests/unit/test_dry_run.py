"""What a dry run shows of rows, and how it estimates what it has not read: no files, no servers."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from actors.estimate import Estimate, Seen, estimated
from actors.shown_rows import MORE, ROW_CHARACTERS, shown_columns, shown_rows
from events.batch import BatchDetails


def details(**changes: Any) -> BatchDetails:
    facts: dict[str, Any] = {"rows_per_job": 100, "max_jobs_in_flight": 1, "params": msgspec.Raw(b"\x80")}
    return BatchDetails(spec="load", queue="default", files=("a.csv",), **facts | changes)


def seen(rows: int | None, *, whole: bool = True, size: int | None = 1000, **changes: Any) -> Seen:
    """Return what was seen of a file; jobs of 100 rows are in it."""
    read = rows or 0
    spans = [(first, min(100, read - first)) for first in range(0, read, 100)]
    facts: dict[str, Any] = {"size": size, "rows_read": read, "held_bytes": 8 * read, "rows": rows}
    return Seen(whole=whole, **{**facts, "spans": spans, **changes})


def shown(value: Any, type_: pa.DataType | None = None) -> Any:
    [row] = shown_rows([pa.table({"a": pa.array([value], type_)})])
    return row["a"]


# What is shown of rows


@pytest.mark.parametrize(
    ("value", "type_", "expected"),
    [
        (None, pa.int64(), None),
        (True, pa.bool_(), True),
        (2**63, pa.uint64(), 2**63),
        (0.5, pa.float64(), 0.5),
        (float("nan"), pa.float64(), None),
        ("Ann", pa.string(), "Ann"),
        (b"\x00\xff", pa.binary(), "AP8="),
        (date(2026, 5, 1), pa.date32(), "2026-05-01"),
        (time(12, 30), pa.time64("us"), "12:30:00"),
        (datetime(2026, 5, 1, 12, tzinfo=UTC), pa.timestamp("us", "UTC"), "2026-05-01T12:00:00Z"),
        (timedelta(hours=1), pa.duration("us"), "PT3600S"),
        (Decimal("12.50"), pa.decimal128(12, 2), "12.50"),
        ([1, None], pa.list_(pa.int8()), [1, None]),
        ({"b": {"c": date(2026, 5, 1)}}, None, {"b": {"c": "2026-05-01"}}),
        ([("k", 1)], pa.map_(pa.string(), pa.int8()), [["k", 1]]),
    ],
)
def test_values_are_shown_as_json_has_them(value: Any, type_: pa.DataType | None, expected: Any) -> None:
    assert shown(value, type_) == expected
    msgspec.json.encode(shown(value, type_))


def test_a_date_that_python_does_not_have_is_shown_as_text() -> None:
    assert shown(2932897, pa.date32()) == "+10000-01-01"


def test_long_texts_binary_values_and_lists_are_cut() -> None:
    assert shown("x" * 1000) == "x" * 199 + MORE
    assert shown(b"\0" * 1000) == "A" * 199 + MORE
    assert shown(list(range(1000))) == [*range(20), MORE]


def test_a_row_that_is_large_as_a_whole_is_cut() -> None:
    row = {f"c{number}": ["x" * 500] * 50 for number in range(500)}
    [found] = shown_rows([pa.Table.from_pylist([row])])

    assert found["c0"] == ["x" * 199 + MORE] * 20 + [MORE]
    assert found[MORE] == MORE
    assert len(found) < 10
    assert len(msgspec.json.encode(found)) < 2 * ROW_CHARACTERS


def test_columns_are_shown_with_the_names_of_their_types() -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.timestamp("us")), ("c" * 300, pa.list_(pa.int8()))])

    assert shown_columns(schema) == {"a": "int64", "b": "timestamp[us]", "c" * 199 + MORE: "list<item: int8>"}
    assert shown_columns(None) == {}


# Estimates


def test_files_that_were_read_to_their_end_are_counted() -> None:
    assert estimated([seen(250), seen(0), seen(100)], [], details()) == Estimate(350, 4, exact=True)


def test_what_was_not_read_of_a_file_is_estimated() -> None:
    head = seen(200, whole=False)

    assert estimated([msgspec.structs.replace(head, rows=1050)], [], details()) == Estimate(1050, 11)


def test_other_files_are_estimated_by_their_sizes() -> None:
    assert estimated([seen(250), seen(250)], [4000, 400], details()) == Estimate(500 + 1000 + 100, 6 + 10 + 1)


@pytest.mark.parametrize(
    ("files", "others"),
    [([seen(None, whole=False)], []), ([seen(100)], [None]), ([seen(100, size=None)], [1000])],
    ids=["rows of a file", "size of another file", "size of the file that was read"],
)
def test_what_cannot_be_told_is_not_estimated(files: list[Seen], others: list[int | None]) -> None:
    assert estimated(files, others, details()) == Estimate()


def test_rows_that_are_passed_over_and_a_limit_count() -> None:
    head = seen(200, whole=False, spans=None)
    files = [msgspec.structs.replace(head, rows=1000)] * 2

    assert estimated(files, [], details(first=1500, limit=300)) == Estimate(300, 3)
    assert estimated(files, [], details(first=5000)) == Estimate(0, 0)


def test_a_limit_within_what_was_read_is_exact_whatever_follows() -> None:
    assert estimated([seen(100)], [None], details(limit=100)) == Estimate(100, 1, exact=True)


def test_without_rows_per_job_the_bytes_of_a_job_decide() -> None:
    head = seen(200, whole=False, spans=[(0, 200)])
    files = [msgspec.structs.replace(head, rows=1000)]

    assert estimated(files, [], details(rows_per_job=None, bytes_per_job=800)) == Estimate(1000, 10)


def test_a_file_is_one_job_if_nothing_else_limits_it() -> None:
    head = seen(200, whole=False, spans=[(0, 200)])
    files = [msgspec.structs.replace(head, rows=1000)]

    assert estimated(files, [500, 0], details(rows_per_job=None)) == Estimate(1500, 2)


def test_raw_files_are_one_row_each_whatever_their_size() -> None:
    raw = seen(1, is_row=True)

    assert estimated([raw], [None, 10], details()) == Estimate(3, 3)


def test_no_files_are_no_rows() -> None:
    assert estimated([], [], details()) == Estimate(0, 0, exact=True)
