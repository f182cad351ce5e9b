"""NDJSON in the suite of all formats."""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from rota.options import NdjsonOptions
from tests.contract.formats.case import BadSample, Case


def write(rows: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


CASE = Case(
    format="ndjson",
    options=NdjsonOptions(),
    write=write,
    many=70_000,
    typed={
        "uint64": (b'{"x":1}\n{"x":18446744073709551615}\n', pa.uint64(), [1, 2**64 - 1]),
        "int64": (b'{"x":-9223372036854775808}\n{"x":null}\n', pa.int64(), [-(2**63), None]),
        "null against empty": (b'{"x":""}\n{"x":null}\n{}\n', pa.string(), ["", None, None]),
        "a date stays a text": (b'{"x":"2026-05-01"}\n', pa.string(), ["2026-05-01"]),
        "lists": (b'{"x":[1,2]}\n{"x":[]}\n{"x":null}\n', pa.list_(pa.int64()), [[1, 2], [], None]),
        "records": (
            b'{"x":{"a":1}}\n{"x":{"b":"y"}}\n',
            pa.struct([("a", pa.int64()), ("b", pa.string())]),
            [{"a": 1, "b": None}, {"a": None, "b": "y"}],
        ),
    },
    bad=[
        BadSample(
            b'{"x":1}\n{"x":"two"}\n{"x":3}\n',
            [{"x": 1}, {"x": 3}],
            1,
            ["line 2, column x", "'two'", "column_types", "string"],
        ),
        BadSample(b'{"x":1}\n{"x":\n{"x":3}\n', [{"x": 1}, {"x": 3}], 1, ["line 2", '{"x":']),
        BadSample(b'{"x":1}\n{"x":2}{"x":3}\n', [{"x": 1}], 1, ["line 2", "after document"]),
        BadSample(b'{"x":1}\n{"x":2,"x":3}\n', [{"x": 1}], 1, ["line 2", "'x' comes twice"]),
        BadSample(b'{"x":1}\n{"x":18446744073709551616}\n', [{"x": 1}], 1, ["line 2, column x", "column_types"]),
        BadSample(b'{"x":1.5}\n{"x":NaN}\n{"x":2.5}\n', [{"x": 1.5}, {"x": 2.5}], 1, ["line 2", "NaN"]),
        BadSample(b'{"x":"a"}\n{"x":"\xff"}\n', [{"x": "a"}], 1, ["line 2", "UTF-8"]),
        BadSample(
            b'{"x":1.10}\n{"x":"a"}\n{"x":12345678901234567890.25}\n',
            [{"x": Decimal("1.10")}, {"x": Decimal("12345678901234567890.25")}],
            1,
            ["line 2, column x", "'a'"],
            options=NdjsonOptions(column_types={"x": "decimal(38,2)"}),
        ),
    ],
    cut_shows=False,
    empty=b"\n",
    empty_file_is_error=False,
    too_deep=b'{"x":' + b"[" * 1000 + b"]" * 1000 + b"}\n",
)
