"""MessagePack in the suite of all formats."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa

from rota.options import MessagePackOptions
from tests.contract.formats.case import BadSample, Case, rows_of


def write(rows: Sequence[dict[str, Any]]) -> bytes:
    return msgspec.msgpack.encode(rows)


def column(*values: Any) -> bytes:
    return write([{"x": value} for value in values])


CASE = Case(
    format="messagepack",
    options=MessagePackOptions(),
    write=write,
    many=35_000,
    typed={
        "uint64": (column(1, 2**64 - 1), pa.uint64(), [1, 2**64 - 1]),
        "int64": (column(-(2**63), None), pa.int64(), [-(2**63), None]),
        "null against empty": (column("", None), pa.string(), ["", None]),
        "binary": (column(b"\xff", b""), pa.binary(), [b"\xff", b""]),
        "lists": (column([1, 2], [], None), pa.list_(pa.int64()), [[1, 2], [], None]),
        "records": (
            column({"a": 1}, {"b": "y"}),
            pa.struct([("a", pa.int64()), ("b", pa.string())]),
            [{"a": 1, "b": None}, {"a": None, "b": "y"}],
        ),
    },
    bad=[
        BadSample(
            column(1, "two", 3),
            [{"x": 1}, {"x": 3}],
            1,
            ["byte 5, column x", "'two'", "column_types", "string"],
        ),
        BadSample(b"\x92\x81\xa1x\xa1a\x81\xa1x\xa1\xff", [{"x": "a"}], 1, ["byte 6, column x"]),
        BadSample(b"\x92\x81\xa1x\x01\x82\xa1x\x01\xa1x\x02", [{"x": 1, "value": None}], 1, ["byte 5"]),
    ],
    broken={
        "no end": write(rows_of(1))[:-1],
        "more after the end": write(rows_of(1)) + b"\xc0",
        "a byte without a meaning": b"\x92" + msgspec.msgpack.encode(rows_of(1)[0]) + b"\xc1",
        "a length that lies": b"\x91\xdb\xff\xff\xff\xffabc",
        "a count that lies": b"\xdd\xff\xff\xff\xff" + msgspec.msgpack.encode(rows_of(1)[0]),
    },
    empty=b"\x90",
    empty_file_is_error=False,
    too_deep=b"\x91\x81\xa1x" + b"\x91" * 1000 + b"\xc0",
)
