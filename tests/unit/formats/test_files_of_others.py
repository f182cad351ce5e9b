"""Arrow, Avro and Parquet files that were written by other programs than the libraries that read them."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from actors.formats.input import Input
from actors.formats.registry import read
from events.formats import FORMATS
from tests.contract.formats.case import START, Body

DATA = Path(__file__).parents[2] / "data"
POLARS: list[dict[str, Any]] = [
    {"id": 1, "name": "Zoë", "on": date(2026, 3, 1), "kind": "a", "tags": ["x", "y"], "big": 0},
    {"id": 2, "name": "", "on": None, "kind": "b", "tags": [], "big": 2**64 - 1},
    {"id": 3, "name": None, "on": date(1969, 7, 20), "kind": "a", "tags": None, "big": 7},
]


def rows(name: str, path: str) -> list[dict[str, Any]]:
    file = Input(Body((DATA / name / path).read_bytes()))
    return [row for block in read(name, file, FORMATS[name].options(), START) for row in block.table.to_pylist()]


@pytest.mark.parametrize(
    ("name", "path"), [("arrow", "polars.arrow"), ("arrow", "polars.arrows"), ("parquet", "polars.parquet")]
)
def test_tables_of_polars_are_read(name: str, path: str) -> None:
    assert rows(name, path) == POLARS


def test_avro_of_polars_is_read() -> None:
    assert rows("avro", "polars.avro") == [{name: row[name] for name in ("id", "name", "tags")} for row in POLARS]


def test_parquet_of_duckdb_is_read() -> None:
    assert rows("parquet", "duckdb.parquet")[3] == {
        "id": 3,
        "name": "n3",
        "price": Decimal("0.75"),
        "at": datetime(2026, 3, 1, 15, 30, tzinfo=UTC),
        "nums": [3, 4],
        "rec": {"a": 3, "b": "x"},
        "u": UUID("12345678-1234-5678-1234-567812345678"),
    }


@pytest.mark.parametrize("codec", ["bzip2", "deflate"])
def test_avro_of_the_official_package_is_read(codec: str) -> None:
    assert rows("avro", f"official-{codec}.avro") == [
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
