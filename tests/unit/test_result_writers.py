"""Files of results: what rows come of a result, and how each format holds them."""

import io
import json
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pyexcel_ods3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from actors.results.errors import ResultsError
from actors.results.outcomes import Outcomes
from actors.results.registry import WRITERS, writer
from actors.results.rows import decoded, rows_of, with_origin
from events.job import JobCancelled, JobFailed, JobTimedOut
from rota.batch_protocol import MAX_LISTED, ResultsFormat
from rota.protocol import JobFault, Payload, Rows

NOW = datetime(2026, 5, 1, 12, 0, 30, tzinfo=UTC)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
TABLES = st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), max_size=12)


def written(format_: ResultsFormat, *groups: list[dict[str, Any]]) -> bytes:
    with tempfile.TemporaryFile() as file:
        with closing(writer(format_, file)) as to:
            for rows in groups:
                to.add(rows)
            to.finish()
        file.seek(0)
        return file.read()


def lines(*groups: list[dict[str, Any]]) -> list[Any]:
    return [json.loads(line) for line in written("ndjson", *groups).splitlines()]


def table(*groups: list[dict[str, Any]]) -> pa.Table:
    return pq.read_table(io.BytesIO(written("parquet", *groups)))


def sheet(*groups: list[dict[str, Any]]) -> list[list[Any]]:
    book = CalamineWorkbook.from_filelike(io.BytesIO(written("ods", *groups)))
    return book.get_sheet_by_name("results").to_python()


@pytest.mark.parametrize(
    ("result", "rows"),
    [
        (None, []),
        (5, [{"value": 5}]),
        (False, [{"value": False}]),
        ("text", [{"value": "text"}]),
        ({"a": 1}, [{"a": 1}]),
        ({}, [{}]),
        ([], []),
        ([{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 2}]),
        ([1, None, [2, 3]], [{"value": 1}, {"value": None}, {"value": [2, 3]}]),
        ({1: "a"}, [{"1": "a"}]),
    ],
)
def test_a_result_is_as_many_rows_as_its_list_has_members(result: Any, rows: list[Any]) -> None:
    assert list(rows_of(decoded("j", msgspec.msgpack.encode(result)))) == rows


def test_a_result_that_is_no_messagepack_names_its_job() -> None:
    with pytest.raises(ResultsError, match="job b_0-7 is no MessagePack"):
        decoded("b_0-7", b"\xc1")


def test_a_result_that_is_nested_too_deeply_names_its_job() -> None:
    with pytest.raises(ResultsError, match="job b_0-7 is nested too deeply"):
        decoded("b_0-7", b"\x91" * 100_000 + b"\xc0")


def test_a_row_says_first_where_it_comes_from_and_keeps_its_own_columns() -> None:
    rows = Rows("b", "in/a.csv", 0, 3, 40, 10, Payload("s", 1, "d"))

    row = with_origin({"a": 1, "rota_job": "mine"}, "b_0-3", rows)

    assert list(row.items()) == [
        ("rota_job", "b_0-3"),
        ("rota_file", "in/a.csv"),
        ("rota_first_row", 40),
        ("a", 1),
        ("rota_job_", "mine"),
    ]


@pytest.mark.parametrize("format_", WRITERS)
def test_no_rows_are_a_file_that_can_be_read(format_: ResultsFormat) -> None:
    body = written(format_)

    match format_:
        case "ndjson":
            assert body == b""
        case "parquet":
            assert pq.read_table(io.BytesIO(body)).num_rows == 0
        case "ods":
            assert CalamineWorkbook.from_filelike(io.BytesIO(body)).sheet_names == ["results"]


def test_ndjson_has_a_row_a_line_in_their_order() -> None:
    assert lines([{"a": 1}, {"a": None}], [{"b": [1, {"c": "ü\n"}]}]) == [
        {"a": 1},
        {"a": None},
        {"b": [1, {"c": "ü\n"}]},
    ]


def test_ndjson_has_bytes_as_base64_and_times_as_text() -> None:
    assert lines([{"a": b"\x00\xff", "b": NOW, "c": {1: b"x"}}]) == [
        {"a": "AP8=", "b": "2026-05-01T12:00:30Z", "c": {"1": "eA=="}}
    ]


def test_parquet_has_the_types_of_plain_values() -> None:
    found = table([{"i": 1, "f": 1.5, "s": "x", "y": b"\x00", "t": True, "d": NOW}], [{"i": None}])

    assert found.schema.types == [
        pa.int64(),
        pa.float64(),
        pa.string(),
        pa.binary(),
        pa.bool_(),
        pa.timestamp("us", tz="UTC"),
    ]
    assert found.to_pylist()[0] == {"i": 1, "f": 1.5, "s": "x", "y": b"\x00", "t": True, "d": NOW}
    assert set(found.to_pylist()[1].values()) == {None}


def test_a_column_of_parquet_may_come_late_or_be_empty() -> None:
    found = table([{"a": 1, "e": None}], [{"b": "x"}])

    assert found.to_pydict() == {"a": [1, None], "e": [None, None], "b": [None, "x"]}


def test_integers_and_floats_are_a_column_of_floats() -> None:
    assert table([{"a": 1}], [{"a": 1.5}])["a"].to_pylist() == [1.0, 1.5]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1, "x"], ["1", '"x"']),
        ([2**53 + 1, 0.5], ["9007199254740993", "0.5"]),
        ([[1], {"a": 1}], ["[1]", '{"a":1}']),
        ([[1], ["x"]], ["[1]", '["x"]']),
        ([[2**60 + 1, 0.5]], ["[1152921504606846977,0.5]"]),
        ([{}], ["{}"]),
        ([True, 1], ["true", "1"]),
        ([2**64 - 1, -1], ["18446744073709551615", "-1"]),
    ],
)
def test_values_without_a_type_in_common_are_json_texts(values: list[Any], texts: list[str]) -> None:
    found = table(*([{"a": value}] for value in values))

    assert found["a"].to_pylist() == texts
    assert found.schema.field("a").metadata[b"rota.json"] == b"true"


def test_large_integers_are_a_column_of_unsigned_ones() -> None:
    assert table([{"a": 2**64 - 1}])["a"].to_pylist() == [2**64 - 1]


def test_nested_values_of_one_type_stay_nested() -> None:
    found = table([{"a": {"x": 1, "l": []}}], [{"a": {"y": "t", "l": [1.5]}}])

    assert found["a"].to_pylist() == [{"x": 1, "l": [], "y": None}, {"x": None, "l": [1.5], "y": "t"}]


def test_objects_whose_keys_are_values_are_json_texts() -> None:
    rows = [{"a": {f"user {number}": 1}} for number in range(1_500)]

    assert table(rows)["a"].to_pylist()[7] == '{"user 7":1}'


def test_parquet_has_row_groups_of_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.results.parquet.GROUP_ROWS", 4)
    body = written("parquet", *([{"a": number}] * 3 for number in range(5)))

    file = pq.ParquetFile(io.BytesIO(body))
    assert [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)] == [4, 4, 4, 3]
    assert file.read()["a"].to_pylist() == [number for number in range(5) for _ in range(3)]


def test_too_many_columns_for_parquet_name_another_format() -> None:
    with pytest.raises(ResultsError, match="more than 5000 columns, too many for Parquet; take NDJSON"):
        written("parquet", [{f"c{number}": 1} for number in range(5_001)])


@settings(max_examples=60, deadline=None)
@given(TABLES, st.integers(1, 5))
def test_parquet_loses_no_value(rows: list[dict[str, Any]], group: int) -> None:
    found = table(*(rows[start : start + group] for start in range(0, len(rows), group)))
    if not found.num_columns:
        return

    read = found.to_pylist()
    assert len(read) == len(rows)
    for row, its in zip(rows, read, strict=True):
        for name, value in its.items():
            is_json = found.schema.field(name).metadata
            assert same(
                row.get(name), json.loads(value) if is_json and value is not None else value, is_json=bool(is_json)
            )


def same(value: Any, read: Any, *, is_json: bool) -> bool:
    """Say whether a value was read back: nested objects may have more members, which are None."""
    match value:
        case dict():
            members = {**dict.fromkeys(read), **value} if isinstance(read, dict) else {}
            return isinstance(read, dict) and all(
                same(one, read.get(key), is_json=is_json) for key, one in members.items()
            )
        case list():
            return (
                isinstance(read, list)
                and len(value) == len(read)
                and all(same(one, other, is_json=is_json) for one, other in zip(value, read, strict=True))
            )
        case bytes() if is_json:
            return bool(json.loads(msgspec.json.encode(value)) == read)
        case bytes() | str() if isinstance(read, bytes | str):
            return (value if isinstance(value, bytes) else value.encode()) == (
                read if isinstance(read, bytes) else read.encode()
            )
        case _:
            return value == read or (value is None and read is None)


def test_ods_has_the_names_of_the_columns_first() -> None:
    assert sheet([{"a": 1, "b": "x"}], [{"c": True}]) == [["a", "b", "c"], [1.0, "x", ""], ["", "", True]]


def test_ods_has_nested_values_as_json_and_whole_seconds_as_dates() -> None:
    rows = sheet([{"n": [1, {"a": b"x"}], "d": NOW, "p": NOW.replace(microsecond=5), "y": b"abc"}])

    assert rows[1] == [
        '[1,{"a":"eA=="}]',
        datetime(2026, 5, 1, 12, 0, 30),  # noqa: DTZ001 - cells have no zone
        "2026-05-01T12:00:30.000005Z",
        "YWJj",
    ]


def test_ods_has_as_text_what_its_numbers_cannot_hold() -> None:
    assert sheet([{"a": 2**60}], [{"a": float("inf")}], [{"a": -(10**15) + 1}])[1:] == [
        ["1152921504606846976"],
        ["inf"],
        [-(10.0**15) + 1],
    ]


def test_ods_is_read_back_by_the_library_that_wrote_it() -> None:
    body = written("ods", [{"a": "=1+1", "b": " two  spaces\n\tand lines "}])

    assert pyexcel_ods3.get_data(io.BytesIO(body))["results"][1] == ["=1+1", " two  spaces\n\tand lines "]


def test_characters_that_ods_cannot_hold_name_their_row() -> None:
    with pytest.raises(ResultsError, match=r"ODS cannot hold all characters of row 2 of the results; take NDJSON"):
        written("ods", [{"a": "x"}, {"a": "\x00"}])


@pytest.mark.parametrize(
    ("limit", "what"), [("MAX_ROWS", "rows"), ("MAX_COLUMNS", "columns"), ("MAX_CELLS", "cells")]
)
def test_more_than_a_sheet_holds_names_another_format(
    limit: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"actors.results.ods.{limit}", 1)

    with pytest.raises(ResultsError, match=rf"more than 1 {what}, too many for ODS; take NDJSON or Parquet"):
        written("ods", [{"a": 1, "b": 2}, {"a": 3}])


def test_a_tally_counts_jobs_and_lists_those_without_results() -> None:
    facts: dict[str, Any] = {"originator_version": 2, "at": NOW, "attempt": 1}
    ran: dict[str, Any] = {"worker": "w", "started_at": NOW, "fault": JobFault("ValueError", "no " + "x" * 1_000)}
    tally = Outcomes()
    tally.add("b_0-0", JobFailed(originator_id="b_0-0", **facts, **ran))
    tally.add("b_0-1", JobTimedOut(originator_id="b_0-1", **facts, **ran))
    tally.add("b_0-2", JobCancelled(originator_id="b_0-2", reason="not needed", **facts))
    tally.add("b_0-3", None)

    failed = tally.failed({"b_0-0": Rows("b", "a.csv", 0, 0, 10, 5, Payload("s", 1, "d"))})
    assert tally.jobs == {"succeeded": 0, "failed": 3, "pending": 1, "total": 4}
    assert failed[0] == {
        "job": "b_0-0",
        "status": "failed",
        "file": "a.csv",
        "first_row": 10,
        "last_row": 14,
        "error": ("ValueError: no " + "x" * 1_000)[:300],
    }
    assert [one["status"] for one in failed] == ["failed", "timed_out", "cancelled"]
    assert failed[2]["error"] == "not needed"
    assert tally.pending == ["b_0-3"]


def test_a_tally_lists_the_first_of_very_many() -> None:
    tally = Outcomes()
    for number in range(MAX_LISTED + 1):
        tally.add(f"b_0-{number}", None)

    assert tally.jobs["pending"] == MAX_LISTED + 1
    assert len(tally.pending) == MAX_LISTED
