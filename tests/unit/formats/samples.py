"""Reads the files in tests/data as a batch does: the format is found out by the name."""

from pathlib import Path
from typing import Any

import pyarrow as pa
from msgspec import convert

from actors.formats.detect import detect
from actors.formats.input import Input
from actors.formats.registry import read
from events.formats import FORMATS
from tests.contract.formats.case import START, Body

DATA = Path(__file__).parents[2] / "data"


def table_of(path: str, /, **options: Any) -> pa.Table:
    """Return all rows of `<format>/<file>`; a bad one is an error."""
    body = (DATA / path).read_bytes()
    name, compression = detect(path, None, body)
    assert name == path.partition("/")[0]
    file = Input(Body(body, path), compression)
    tables = [block.table for block in read(name, file, convert(options, FORMATS[name].options), START)]
    return pa.concat_tables(tables, promote_options="default")


def types_of(table: pa.Table) -> dict[str, str]:
    """Return the types of the columns, as Arrow writes them."""
    return {field.name: str(field.type) for field in table.schema}


def format_by_bytes(path: str) -> str:
    """Return the format that the first bytes show, where the name shows none."""
    return detect("file", None, (DATA / path).read_bytes())[0]
