"""JSON in the suite of all formats."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from rota.options import JsonOptions
from tests.contract.formats.case import BadSample, Case


def write(rows: Sequence[dict[str, Any]]) -> bytes:
    return json.dumps(rows, ensure_ascii=False).encode()


CASE = Case(
    format="json",
    options=JsonOptions(),
    write=write,
    many=70_000,
    typed={
        "uint64": (b'[{"x":1},{"x":18446744073709551615}]', pa.uint64(), [1, 2**64 - 1]),
        "int64": (b'[{"x":-9223372036854775808},{"x":null}]', pa.int64(), [-(2**63), None]),
        "null against empty": (b'[{"x":""},{"x":null},{}]', pa.string(), ["", None, None]),
        "a date stays a text": (b'[{"x":"2026-05-01"}]', pa.string(), ["2026-05-01"]),
        "lists": (b'[{"x":[1,2]},{"x":[]},{"x":null}]', pa.list_(pa.int64()), [[1, 2], [], None]),
        "records": (
            b'[{"x":{"a":1}},{"x":{"b":"y"}}]',
            pa.struct([("a", pa.int64()), ("b", pa.string())]),
            [{"a": 1, "b": None}, {"a": None, "b": "y"}],
        ),
    },
    bad=[
        BadSample(
            b'[{"x":1},\n {"x":"two"},\n {"x":3}]',
            [{"x": 1}, {"x": 3}],
            1,
            ["line 2, element 2, column x", "'two'", "column_types", "string"],
        ),
        BadSample(b'[{"x":1},{"x":tru},{"x":3}]', [{"x": 1}, {"x": 3}], 1, ["element 2", '{"x":tru}']),
        BadSample(b'[{"x":1},{"x":2,"x":3}]', [{"x": 1}], 1, ["element 2", "'x' comes twice"]),
        BadSample(b'[{"x":1},{"x":18446744073709551616}]', [{"x": 1}], 1, ["element 2, column x", "column_types"]),
        BadSample(b'[{"x":"a"},{"x":"\xff"}]', [{"x": "a"}], 1, ["element 2", "UTF-8"]),
    ],
    broken={
        "no end": write([{"id": 0, "name": "Zoë 0 “0”", "price": 0.0, "paid": True}])[:-1],
        "something after the end": b"[] 1",
        "two documents": b"[][]",
        "no comma": b"[{} {}]",
        "a comma too many": b"[,]",
        "another bracket": b"[}",
        "a quote that is not closed": b'[{"id": "0}, {"id": 1}]',
    },
    empty=b"[]",
    too_deep=b'[{"x":' + b"[" * 1000 + b"]" * 1000 + b"}]",
)
