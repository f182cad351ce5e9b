"""Rows in the form that their worker wants: nothing is wrong, whatever the types."""

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.row_forms import encode_rows

TEXTS: list[tuple[pa.Array, list[Any]]] = [
    (pa.array([1, None, 2**64 - 1], pa.uint64()), [1, None, 2**64 - 1]),
    (pa.array([True, None, False]), [True, None, False]),
    (pa.array([0.1, None, -1e300]), [0.1, None, -1e300]),
    (pa.array([1.5, None, 2], pa.float16()), [1.5, None, 2.0]),
    (pa.array(["ä", None, ""]), ["ä", None, ""]),
    (pa.array(["a", None, "b"]).dictionary_encode(), ["a", None, "b"]),
    (pa.nulls(3), [None, None, None]),
    (
        pa.array([Decimal("1.10"), None, Decimal("-12345678901234567890.12")]),
        ["1.10", None, "-12345678901234567890.12"],
    ),
    (pa.array([date(2024, 2, 29), None, date(1, 1, 1)]), ["2024-02-29", None, "0001-01-01"]),
    (pa.array([date(2024, 2, 29), None, date(1, 1, 1)], pa.date64()), ["2024-02-29", None, "0001-01-01"]),
    (
        pa.array([2932897, None, -719528, 2**31 - 1, -(2**31)], pa.int32()).cast(pa.date32()),
        ["+10000-01-01", None, "0000-01-01", "+5881580-07-11", "-5877641-06-23"],
    ),
    (pa.array([time(1, 2, 3), None, time(1, 2, 3, 40)]), ["01:02:03", None, "01:02:03.000040"]),
    (pa.array([1, None, 10**9], pa.time64("ns")), ["00:00:00.000000001", None, "00:00:01"]),
    (
        pa.array(["2024-02-29T12:00:00", None, "0001-01-01T00:00:00.000005"]).cast(pa.timestamp("us")),
        ["2024-02-29T12:00:00", None, "0001-01-01T00:00:00.000005"],
    ),
    (
        pa.array([datetime(2024, 2, 29, 12, tzinfo=UTC), None], pa.timestamp("ms", "Europe/Berlin")),
        ["2024-02-29T12:00:00Z", None],
    ),
    (
        pa.array([1, None, -1], pa.timestamp("ns")),
        ["1970-01-01T00:00:00.000000001", None, "1969-12-31T23:59:59.999999999"],
    ),
    (
        # Arrow's own text of the last one has the year -31878.
        pa.array([253402300800 * 10**6, None, 10**18], pa.int64()).cast(pa.timestamp("us", "UTC")),
        ["+10000-01-01T00:00:00Z", None, "+33658-09-27T01:46:40Z"],
    ),
    (pa.array([2**62], pa.timestamp("s")), ["+146138514283-06-19T07:45:04"]),
    (
        pa.array([timedelta(days=1, seconds=1.5), None, timedelta(0), timedelta(seconds=-0.25)]),
        ["PT86401.500000S", None, "PT0S", "-PT0.250000S"],
    ),
    (pa.array([b"a" * 16, None], pa.uuid()), ["61616161-6161-6161-6161-616161616161", None]),
    (pa.array([[1, None], [], None], pa.list_(pa.int8())), [[1, None], [], None]),
    (pa.array([[date(2024, 1, 1)], None, [None]], pa.list_(pa.date32(), 1)), [["2024-01-01"], None, [None]]),
    (
        pa.array([{"a": date(2024, 1, 1), "b": [{"c": 1}]}, None, {"a": None, "b": None}]),
        [{"a": "2024-01-01", "b": [{"c": 1}]}, None, {"a": None, "b": None}],
    ),
    (
        pa.array([[("k", 1)], None, [("l", None), ("l", 2)]], pa.map_(pa.string(), pa.int8())),
        [[["k", 1]], None, [["l", None], ["l", 2]]],
    ),
    (pa.array([{}, None], pa.struct([])), [{}, None]),
    (pa.RunEndEncodedArray.from_arrays([2, 3], ["ab", "c"]), ["ab", "ab", "c"]),
    (pa.array(["a", None], pa.string_view()), ["a", None]),
]


@pytest.mark.parametrize(("column", "values"), TEXTS, ids=lambda value: str(getattr(value, "type", "")))
def test_both_forms_have_what_other_languages_read(column: pa.Array, values: list[Any]) -> None:
    rows = [{"a": value} for value in values]
    table = pa.table({"a": column})

    assert json.loads(encode_rows(table, "json")) == rows
    assert msgspec.msgpack.decode(encode_rows(table, "messagepack")) == rows


@pytest.mark.parametrize(("column", "values"), TEXTS, ids=lambda value: str(getattr(value, "type", "")))
def test_a_piece_of_a_table_has_its_own_rows(column: pa.Array, values: list[Any]) -> None:
    table = pa.table({"a": pa.chunked_array([column, column])}).slice(1, len(values))

    assert json.loads(encode_rows(table, "json")) == [
        {"a": value} for value in [*values, *values][1 : len(values) + 1]
    ]


def test_binary_values_are_base64_in_json_and_binary_in_messagepack() -> None:
    table = pa.table({"a": [b"\x00\xff", None], "b": pa.array([b"ab", None], pa.binary(2))})

    assert json.loads(encode_rows(table, "json")) == [{"a": "AP8=", "b": "YWI="}, {"a": None, "b": None}]
    assert msgspec.msgpack.decode(encode_rows(table, "messagepack")) == [
        {"a": b"\x00\xff", "b": b"ab"},
        {"a": None, "b": None},
    ]


def test_numbers_that_json_does_not_have_are_null_in_it() -> None:
    table = pa.table({"a": [[float("nan"), float("inf"), 1.0]]})

    assert json.loads(encode_rows(table, "json")) == [{"a": [None, None, 1.0]}]
    [row] = msgspec.msgpack.decode(encode_rows(table, "messagepack"))
    assert str(row["a"]) == "[nan, inf, 1.0]"


def test_an_arrow_stream_has_the_table() -> None:
    table = pa.table({"a": [1, 2], "b": ["x", None]})

    assert pa.ipc.open_stream(encode_rows(table, "arrow")).read_all() == table


def test_no_rows_are_an_empty_array() -> None:
    assert encode_rows(pa.table({"a": pa.array([], pa.date32())}), "json") == b"[]"


@given(st.lists(st.datetimes() | st.none(), max_size=5), st.sampled_from(["s", "ms", "us"]))
def test_moments_are_written_as_python_writes_them(moments: list[datetime | None], unit: str) -> None:
    column = pa.array([moment and moment.replace(microsecond=0) for moment in moments], pa.timestamp(unit))

    rows = json.loads(encode_rows(pa.table({"a": column}), "json"))

    assert [row["a"] for row in rows] == [
        moment and moment.replace(microsecond=0).isoformat() for moment in moments
    ]
