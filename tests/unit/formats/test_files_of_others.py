"""Arrow, Avro and Parquet files that were written by other programs than the libraries that read them."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.unit.formats.samples import DATA, format_by_bytes, table_of, types_of

POLARS: list[dict[str, Any]] = [
    {"id": 1, "name": "Zoë", "on": date(2026, 3, 1), "kind": "a", "tags": ["x", "y"], "big": 0},
    {"id": 2, "name": "", "on": None, "kind": "b", "tags": [], "big": 2**64 - 1},
    {"id": 3, "name": None, "on": date(1969, 7, 20), "kind": "a", "tags": None, "big": 7},
]


@pytest.mark.parametrize("path", ["arrow/polars.arrow", "arrow/polars.arrows", "parquet/polars.parquet"])
def test_tables_of_polars_are_read(path: str) -> None:
    assert table_of(path).to_pylist() == POLARS


def test_avro_of_polars_is_read() -> None:
    assert table_of("avro/polars.avro").to_pylist() == [
        {name: row[name] for name in ("id", "name", "tags")} for row in POLARS
    ]


def test_parquet_of_duckdb_is_read() -> None:
    table = table_of("parquet/duckdb.parquet")

    assert types_of(table) == {
        "id": "uint64",
        "name": "string",
        "price": "decimal128(9, 2)",
        "at": "timestamp[us, tz=UTC]",
        "nums": "list<element: int64>",
        "rec": "struct<a: int64, b: string>",
        "u": "extension<arrow.uuid>",
    }
    assert table.to_pylist() == [
        {
            "id": n,
            "name": f"n{n}",
            "price": n * Decimal("0.25"),
            "at": datetime(2026, 3, 1, 12 + n, 30, tzinfo=UTC),
            "nums": [n, n + 1],
            "rec": {"a": n, "b": "x"},
            "u": UUID("12345678-1234-5678-1234-567812345678"),
        }
        for n in range(5)
    ]


def test_parquet_with_timestamps_of_96_bits_is_read() -> None:
    table = table_of("parquet/fastparquet.parquet")

    assert types_of(table) == {
        "id": "int64",
        "name": "string",
        "kind": "string",
        "at": "timestamp[ns]",
        "price": "double",
        "data": "binary",
    }
    assert table.to_pylist() == [
        {
            "id": 1,
            "name": "Zoë",
            "kind": "a",
            "at": datetime.fromisoformat("2026-03-01T12:30:00"),
            "price": 1.5,
            "data": b"\x00\xff",
        },
        {
            "id": 2,
            "name": "",
            "kind": "b",
            "at": datetime.fromisoformat("1969-07-20T20:17:40"),
            "price": None,
            "data": b"",
        },
        {"id": None, "name": None, "kind": "a", "at": None, "price": -0.0, "data": b"x"},
    ]


def test_parquet_of_pandas_is_read_with_its_index() -> None:
    table = table_of("parquet/pandas.parquet")

    assert types_of(table) == {
        "price": "double",
        "at": "timestamp[us, tz=Europe/Berlin]",
        "kind": "string",
        "wait": "duration[us]",
        "key": "large_string",
    }
    at = datetime(2026, 3, 1, 11, 30, tzinfo=UTC)
    assert table.to_pylist() == [
        {"price": 1.5, "at": at, "kind": "a", "wait": timedelta(seconds=90), "key": "x"},
        {"price": None, "at": None, "kind": None, "wait": None, "key": "y"},
    ]


@pytest.mark.parametrize("codec", ["bzip2", "deflate"])
def test_avro_of_the_official_package_is_read(codec: str) -> None:
    assert table_of(f"avro/official-{codec}.avro").to_pylist() == [
        {
            "id": n,
            "name": None if n == 1 else f"Zoë {n}",
            "on": date(2026, 3, 1 + n),
            "at": datetime(2026, 3, 1, 12, n, tzinfo=UTC),
            "price": Decimal("12.50"),
            "lines": [{"sku": "a", "qty": n}],
            "labels": [("k", "v")],
        }
        for n in range(3)
    ]


@pytest.mark.parametrize(
    "path",
    [
        *(f"arrow/polars.{end}" for end in ("arrow", "arrows")),
        *(f"avro/{name}.avro" for name in ("official-bzip2", "official-deflate", "polars")),
        *(f"parquet/{name}.parquet" for name in ("duckdb", "fastparquet", "pandas", "polars")),
    ],
)
def test_the_first_bytes_tell_the_format(path: str) -> None:
    assert format_by_bytes(path) == path.partition("/")[0]


@pytest.mark.parametrize(
    "path",
    sorted(path for path in DATA.glob("*/*") if path.name != "README.md"),
    ids=lambda path: f"{path.parent.name}-{path.name}",
)
def test_how_each_file_was_made_is_told_beside_it(path: Path) -> None:
    assert f"`{path.name}`" in (path.parent / "README.md").read_text()
