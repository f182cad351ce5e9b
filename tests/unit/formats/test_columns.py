"""Columns: types come from the first values, hold for ever, and what does not fit is a bad row."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.formats.block import BadRowError
from actors.formats.columns import Columns, Place
from actors.formats.limits import Limits
from rota.errors import TooLargeError

Row = dict[str, Any]


def place(index: int) -> Place:
    return Place(f"element {index}")


def table(*rows: Row, **known: Any) -> tuple[pa.Table, list[str]]:
    found, faults = Columns("f.json", **known).table(rows, place, 0)
    return found, [fault.message for fault in faults]


def column(*values: Any, **known: Any) -> tuple[pa.DataType, list[Any], list[str]]:
    found, faults = table(*({"a": value} for value in values), **known)
    return found.schema.field("a").type, found["a"].to_pylist(), faults


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([True], pa.bool_()),
        ([1, -1], pa.int64()),
        ([2**63, 1], pa.uint64()),
        ([1, 2.5], pa.float64()),
        ([Decimal("1.25"), 3], pa.decimal128(38, 2)),
        (["x"], pa.string()),
        ([b"x"], pa.binary()),
        ([date(2026, 5, 1)], pa.date32()),
        ([datetime(2026, 5, 1)], pa.timestamp("us")),  # noqa: DTZ001 - without a zone
        ([datetime(2026, 5, 1, tzinfo=UTC)], pa.timestamp("us", "UTC")),
        ([time(1)], pa.time64("us")),
        ([timedelta(1)], pa.duration("us")),
        ([[1], []], pa.list_(pa.int64())),
        ([{"b": 1}, {"c": "x"}], pa.struct([("b", pa.int64()), ("c", pa.string())])),
        ([], pa.null()),
    ],
)
def test_the_values_decide_the_type(values: list[Any], type_: pa.DataType) -> None:
    found = column(None, *values)
    assert (found[0], found[2]) == (type_, [])
    assert len(found[1]) == len(values) + 1


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (1, 1.0), (1, True), (True, 1), ("x", b"x"), (b"x", "x"), (1.5, 2**53 + 1), (1, 2**63), (2**63, -1),
        (date(2026, 5, 1), datetime(2026, 5, 1)),  # noqa: DTZ001
        (datetime(2026, 5, 1), date(2026, 5, 1)),  # noqa: DTZ001
        (datetime(2026, 5, 1), datetime(2026, 5, 1, tzinfo=UTC)),  # noqa: DTZ001
        (datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 1)),  # noqa: DTZ001
        (time(1), time(1, tzinfo=UTC)), (timedelta(1), timedelta.max), (Decimal("1.5"), Decimal("1.55")),
        (Decimal("1.5"), Decimal("NaN")), ("x", "\ud800"), ([1], ["x"]), ({"b": 1}, {"b": "x"}), ({"b": 1}, [1]),
        (1, 1j),
    ],
)  # fmt: skip
def test_what_pyarrow_would_change_silently_is_a_bad_row(first: object, other: object) -> None:
    columns = Columns("f.json")
    columns.table([{"a": first}], place, 0)
    known = columns.schema
    found, faults = columns.table([{"a": other}, {"a": first}, {"a": None}], place, 1)
    assert found["a"].to_pylist() == pa.array([first, None], known.field("a").type).to_pylist()
    assert columns.schema == known
    assert [fault.row for fault in faults] == [1]


def test_the_message_names_all_and_the_option() -> None:
    _, faults = table({"a": {"b": 1}}, {"a": {"b": "x"}})
    assert faults == [
        "f.json, element 1, column a.b: 'x' is no int64; the option column_types can make column a a json"
    ]
    assert column(1, "x")[2] == [
        "f.json, element 1, column a: 'x' is no int64; the option column_types can make the column a string"
    ]
    assert column(2**64)[2][0].endswith("can make the column a string, json or decimal(38,0)")
    assert column(1, [1], column_types={"a": "json"})[2] == []


def test_a_bad_row_counts_the_good_ones_before_it_and_is_told_once() -> None:
    rows: list[Row] = [{"a": 1, "b": 1}, {"a": "x", "b": "x"}, {"a": 2, "b": "y"}, {"a": 3, "b": 3}]
    found, faults = Columns("f").table(rows, place, 100)
    assert found.to_pylist() == [rows[0], rows[3]]
    assert [(fault.row, fault.column) for fault in faults] == [(101, "a"), (101, "b")]


def test_new_columns_and_fields_come_at_the_end() -> None:
    columns = Columns("f")
    columns.table([{"a": {"x": 1}, "b": None}], place, 0)
    found, _ = columns.table([{"c": 1, "a": {"w": 2}}, {"b": "s"}], place, 1)
    assert found.column_names == ["a", "b", "c"]
    assert found.to_pylist() == [
        {"a": {"x": None, "w": 2}, "b": None, "c": 1},
        {"a": None, "b": "s", "c": None},
    ]


@pytest.mark.parametrize(
    ("type_", "values", "expected"),
    [
        ("string", ["x", 1, True, 1.5, Decimal("1.50"), b"y", None], ["x", "1", "true", "1.5", "1.50", "y", None]),
        ("json", ["x", 1, {"a": [None]}, Decimal("1.50"), None], ['"x"', "1", '{"a":[null]}', "1.50", None]),
        ("int64", ["12", " 13 ", 1, 1.0, None], [12, 13, 1, 1, None]),
        ("float64", ["1.5", 1, Decimal("2.5"), "inf"], [1.5, 1.0, 2.5, float("inf")]),
        ("bool", ["true", "0", 1, False], [True, False, True, False]),
        ("decimal(12,2)", ["1.5", 12.34, 7], [Decimal("1.50"), Decimal("12.34"), Decimal("7.00")]),
        ("date", ["2026-05-01", date(2026, 5, 2)], [date(2026, 5, 1), date(2026, 5, 2)]),
        ("time", ["10:30", time(1)], [time(10, 30), time(1)]),
        ("duration", ["P1DT2H"], [timedelta(days=1, hours=2)]),
        ("binary", ["YWI=", b"x"], [b"ab", b"x"]),
        ("string", [UUID(int=1)], [str(UUID(int=1))]),
    ],
)
def test_a_named_type_takes_what_it_can_hold(type_: str, values: list[Any], expected: list[Any]) -> None:
    assert column(*values, column_types={"a": type_})[1:] == (expected, [])


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("int8", "300"), ("int64", "1.0"), ("int64", 1.5), ("int64", ""), ("float64", "1e999"),
        ("decimal(4,2)", "1.555"),
        ("date", "2026-02-30"), ("time", "24:00"), ("timestamp", "2026-05-01T10:00Z"), ("duration", "x"),
        ("binary", "*"),
        ("timestamp[Europe/Berlin]", "2026-10-25 02:30"), ("json", float("nan")), ("string", [1]), ("bool", 2),
        ("uint64", -1), ("float32", 1e300),
    ],
)  # fmt: skip
def test_a_named_type_refuses_what_it_would_change(type_: str, value: object) -> None:
    found = column(None, value, column_types={"a": type_})
    assert (found[1], len(found[2])) == ([None], 1)


def test_times_with_and_without_an_offset_become_moments_of_the_zone() -> None:
    values = [
        "2026-05-01T10:00Z",
        "2026-05-01 12:00",
        datetime(2026, 5, 1, 12),  # noqa: DTZ001
        datetime(2026, 5, 1, 10, tzinfo=UTC),
    ]
    found = column(*values, column_types={"a": "timestamp[Europe/Berlin]"})
    assert {value.isoformat() for value in found[1]} == {"2026-05-01T12:00:00+02:00"}


def test_columns_are_chosen_in_their_order_and_must_be_there() -> None:
    assert table({"a": 1, "b": 2, "c": 3}, columns=["c", "a"])[0].to_pylist() == [{"c": 3, "a": 1}]
    with pytest.raises(BadRowError, match="has no column x; it has a, b"):
        table({"a": 1, "b": 2}, columns=["x"])


def test_limits_hold() -> None:
    with pytest.raises(TooLargeError, match="more than 3 columns"):
        table({"a": {"b": 1, "c": 2, "d": 3}}, limits=Limits(columns=3))
    with pytest.raises(TooLargeError, match="cells"):
        table(*({str(index): 1} for index in range(9_000)))
    assert "more than 2 lists" in column([[[1]]], limits=Limits(depth=2))[2][0]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3) | st.dates()
    | st.datetimes() | st.datetimes(timezones=st.just(UTC)) | st.decimals() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("ab"), VALUES), max_size=8))
def test_whatever_the_values_are_the_same_schema_gives_the_same_rows_again(rows: list[Row]) -> None:
    columns = Columns("f")
    first, faults = columns.table(rows, place, 0)
    again, same = Columns("f", schema=columns.schema).table(rows, place, 0)
    assert again.equals(first) or str(again.to_pylist()) == str(first.to_pylist())
    assert [fault.row for fault in same] == [fault.row for fault in faults]
    first.validate(full=True)
    assert first.num_rows + len(faults) == len(rows)


def test_a_decimal_beyond_the_floats_is_no_infinity() -> None:
    columns = Columns("f", column_types={"x": "float64"})

    table, faults = columns.table([{"x": Decimal(1)}, {"x": Decimal("1E400")}], lambda n: Place(f"row {n}"), 0)

    assert table.to_pylist() == [{"x": 1.0}]
    assert "1E+400 is no float64" in faults[0].message


def test_a_misfit_in_a_list_is_told_that_json_takes_it() -> None:
    columns = Columns("f")
    columns.table([{"x": [1]}], lambda n: Place(f"row {n}"), 0)

    _, faults = columns.table([{"x": ["a"]}], lambda n: Place(f"row {n}"), 1)

    assert "json" in faults[0].message
