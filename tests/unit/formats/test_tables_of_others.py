"""CSV and TSV files that were written by other programs."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from actors.formats.block import BadRowError
from tests.unit.formats.samples import format_by_bytes, table_of, types_of

PANDAS: list[dict[str, Any]] = [
    {
        "id": 1,
        "name": "Zoë",
        "price": 1.5,
        "paid": True,
        "at": datetime.fromisoformat("2026-03-01T12:30:00.500000"),
    },
    {"id": 2, "name": 'a "b", c', "price": 1e-7, "paid": False, "at": None},
    {"id": 3, "name": None, "price": None, "paid": True, "at": datetime.fromisoformat("1969-07-20T20:17:40")},
]
PANDAS_TYPES = {"id": "int64", "name": "string", "price": "double", "paid": "bool", "at": "timestamp[us]"}


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("csv/pandas.csv", {}),
        ("csv/libreoffice.csv", {"delimiter": ";", "encoding": "cp1252"}),
        ("tsv/libreoffice.tsv", {}),
    ],
)
def test_one_table_is_the_same_from_pandas_and_from_libreoffice(path: str, options: dict[str, Any]) -> None:
    table = table_of(path, **options)

    assert types_of(table) == PANDAS_TYPES
    assert table.to_pylist() == PANDAS


def test_the_index_of_pandas_is_a_column_without_a_name() -> None:
    table = table_of("tsv/pandas.tsv")

    assert types_of(table) == {"column_1": "int64", **PANDAS_TYPES}
    assert table.to_pylist() == [{"column_1": number, **row} for number, row in enumerate(PANDAS)]


def test_csv_of_duckdb_is_read() -> None:
    table = table_of("csv/duckdb.csv", delimiter=";", column_types={"price": "decimal(9,2)"})

    assert types_of(table) == {
        "id": "int64",
        "name": "string",
        "price": "decimal128(9, 2)",
        "day": "date32[day]",
        "at": "timestamp[us, tz=UTC]",
        "nested": "string",
        "nothing": "string",
    }
    assert [str(price) for price in table["price"].to_pylist()] == ["0.00", "0.25"]
    assert table.drop_columns("price").to_pylist() == [
        {
            "id": n,
            "name": f"a'b;\"{n}",
            "day": date(2026, 5, 1 + n),
            "at": datetime(2026, 5, 1, 10, tzinfo=UTC),
            "nested": f"{{'a': {n}, 'b': [{n}, NULL]}}",
            "nothing": None,
        }
        for n in range(2)
    ]


def test_csv_of_a_german_excel_is_read() -> None:
    table = table_of(
        "csv/excel.csv",
        delimiter=";",
        decimal_point=",",
        true_values=["WAHR"],
        false_values=["FALSCH"],
        timestamp_formats=["%d.%m.%Y"],
        column_types={"Datum": "date"},
    )

    assert types_of(table) == {
        "Nummer": "int64",
        "Name": "string",
        "Betrag": "double",
        "Datum": "date32[day]",
        "Bezahlt": "bool",
    }
    assert table.to_pylist() == [
        {"Nummer": 1, "Name": "Zoë", "Betrag": 1.5, "Datum": date(2026, 3, 1), "Bezahlt": True},
        {"Nummer": 2, "Name": 'Muster; "AG"', "Betrag": -0.25, "Datum": date(2025, 12, 31), "Bezahlt": False},
        {"Nummer": 3, "Name": "zwei\nZeilen", "Betrag": None, "Datum": None, "Bezahlt": None},
    ]


def test_csv_with_carriage_returns_of_papa_parse_is_read() -> None:
    table = table_of("csv/papaparse.csv")

    assert types_of(table) == {"id": "int64", "name": "string", "note": "string", "paid": "bool"}
    assert table.to_pylist() == [
        {"id": 1, "name": 'Zoë, "Z"', "note": "two\nlines", "paid": True},
        {"id": 2, "name": None, "note": None, "paid": False},
    ]


def test_csv_of_polars_is_read() -> None:
    table = table_of("csv/polars.csv")

    assert types_of(table) == {
        "id": "uint64",
        "name": "string",
        "empty": "string",
        "on": "date32[day]",
        "time": "string",
        "zoned": "timestamp[us, tz=UTC]",
    }
    assert table.to_pylist() == [
        {
            "id": 1,
            "name": "Zoë",
            "empty": "",
            "on": date(2026, 3, 1),
            "time": "09:30:00.000000000",
            "zoned": datetime(2026, 3, 1, 12, tzinfo=UTC),
        },
        {"id": 2**64 - 1, "name": None, "empty": "x,y", "on": None, "time": "23:59:59.250000000", "zoned": None},
    ]


def test_csv_of_sqlite_is_read() -> None:
    table = table_of("csv/sqlite.csv")

    assert types_of(table) == {
        "id": "int64",
        "name": "string",
        "none": "double",
        "empty": "string",
        "data": "string",
    }
    assert table.to_pylist() == [
        {"id": 1, "name": 'Zoë, "Z"', "none": None, "empty": "", "data": "a"},
        {"id": 2, "name": "two\nlines", "none": 2.5, "empty": "x", "data": "ü"},
    ]


def test_tsv_of_sqlite_is_read_without_quoting() -> None:
    table = table_of("tsv/sqlite.tsv", quote=None)

    assert types_of(table) == {"id": "int64", "name": "string", "none": "double"}
    assert table.to_pylist() == [
        {"id": 1, "name": 'say "hi"', "none": None},
        {"id": 2, "name": '"', "none": 2.5},
    ]


def test_tsv_of_duckdb_is_read_without_a_header() -> None:
    table = table_of("tsv/duckdb.tsv", column_names=["id", "name", "nothing", "big"], null_values=["\\N"])

    assert types_of(table) == {"id": "int64", "name": "string", "nothing": "string", "big": "double"}
    assert table.to_pylist() == [
        {"id": 0, "name": "tab\there", "nothing": None, "big": 0.0},
        {"id": 1, "name": "tab\there", "nothing": None, "big": 1e300},
    ]


def test_tsv_with_the_escapes_of_mysql_is_read() -> None:
    table = table_of("tsv/mysql.tsv", quote=None, escape="\\", null_values=["N"])

    assert types_of(table) == {"id": "int64", "name": "string", "note": "string"}
    assert table.to_pylist() == [
        {"id": 1, "name": 'say "hi"', "note": "tab\there"},
        {"id": 2, "name": None, "note": "two\nlines"},
        {"id": 3, "name": "", "note": "back\\slash"},
    ]


@pytest.mark.parametrize(
    "path",
    [
        *(f"csv/{name}.csv" for name in ("pandas", "papaparse", "polars", "sqlite")),
        *(f"tsv/{name}.tsv" for name in ("duckdb", "libreoffice", "mysql", "pandas", "sqlite")),
    ],
)
def test_the_first_bytes_tell_tables_with_commas_and_tabs(path: str) -> None:
    assert format_by_bytes(path) == path.partition("/")[0]


@pytest.mark.parametrize("name", ["duckdb", "excel", "libreoffice"])
def test_tables_with_semicolons_need_a_name(name: str) -> None:
    with pytest.raises(BadRowError, match="CSV with the delimiter ';', which is an option"):
        format_by_bytes(f"csv/{name}.csv")
