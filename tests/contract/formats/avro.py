"""Avro in the suite: blocks of some kilobytes."""

import io
from collections.abc import Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import fastavro
import pyarrow as pa

from rota.options import AvroOptions
from tests.contract.formats.case import BadSample, Case, rows_of

SYNC = bytes(range(16))


def record(type_name: str = "Row", /, **fields: Any) -> Any:
    """Return the schema of a record."""
    return {
        "type": "record",
        "name": type_name,
        "fields": [{"name": name, "type": type_} for name, type_ in fields.items()],
    }


SCHEMA = record(id="long", name="string", price="double", paid="boolean")


def written(schema: Any, rows: Sequence[Any], codec: str = "null", **options: Any) -> bytes:
    """Return an Avro file."""
    body = io.BytesIO()
    fastavro.writer(body, schema, rows, codec=codec, sync_marker=SYNC, **options)
    return body.getvalue()


def _write(rows: Sequence[dict[str, Any]]) -> bytes:
    return written(SCHEMA, rows)


def _typed(schema: Any, type_: pa.DataType, values: list[Any], raw: list[Any] | None = None) -> Any:
    return written(record(x=schema), [{"x": value} for value in (raw or values)]), type_, values


def _logical(base: str, logical: str) -> Any:
    return {"type": base, "logicalType": logical}


MOMENT = datetime(2026, 3, 1, 12, 30, 0, 123000)  # noqa: DTZ001 - it has no zone
IN_UTC = MOMENT.replace(tzinfo=ZoneInfo("UTC"))
NESTED = {"type": "array", "items": record("Inner", a="int", b={"type": "array", "items": ["null", "string"]})}
FIXED_DECIMAL = {"type": "fixed", "name": "D", "size": 9, "logicalType": "decimal", "precision": 20, "scale": 2}

TYPED = {
    "decimal": _typed(
        {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2},
        pa.decimal128(20, 2),
        [Decimal("123456789012345678.90"), Decimal("-0.01")],
    ),
    "fixed decimal": _typed(["null", FIXED_DECIMAL], pa.decimal128(20, 2), [Decimal("-12.30"), None]),
    "date": _typed(["null", _logical("int", "date")], pa.date32(), [date(1969, 7, 20), None]),
    "time in milliseconds": _typed(_logical("int", "time-millis"), pa.time32("ms"), [time(23, 59, 59, 999000)]),
    "time": _typed(_logical("long", "time-micros"), pa.time64("us"), [time(23, 59, 59, 999999)]),
    "timestamp": _typed(_logical("long", "local-timestamp-millis"), pa.timestamp("ms"), [MOMENT]),
    "timestamp with a zone": _typed(_logical("long", "timestamp-micros"), pa.timestamp("us", "UTC"), [IN_UTC]),
    "nested": _typed(
        NESTED,
        pa.list_(pa.struct([("a", pa.int32()), ("b", pa.list_(pa.string()))])),
        [[{"a": 1, "b": ["x", None]}], []],
    ),
    "map": _typed(
        {"type": "map", "values": "int"}, pa.map_(pa.string(), pa.int32()), [[("a", 1)], []], [{"a": 1}, {}]
    ),
    "binary": _typed(["null", "bytes"], pa.binary(), [b"\x00\xff", b"", None]),
    "null against empty": _typed(["null", "string"], pa.string(), ["", None, "null"]),
    "NaN": _typed(["null", "double"], pa.float64(), [float("nan"), float("inf"), -0.0, None]),
    "union": _typed(
        ["null", "string", "long"],
        pa.struct([("string", pa.string()), ("long", pa.int64())]),
        [{"string": "7", "long": None}, {"string": None, "long": 7}, None],
        ["7", 7, None],
    ),
}


def _with_a_late_time() -> BadSample:
    schema = record(id="long", at="int")
    rows = [{"id": 1, "at": 5}, {"id": 2, "at": 86_400_000}, {"id": 3, "at": 7}]
    body = written(schema, rows)
    claimed = written(record(id="long", at=_logical("int", "time-millis")), [])
    return BadSample(
        body=claimed + body[len(written(schema, [])) :],
        rows=[{"id": 1, "at": time(0, 0, 0, 5000)}, {"id": 3, "at": time(0, 0, 0, 7000)}],
        before=1,
        says=["byte ", "row 2 of the block", "column at", "86400000", "the option columns can leave it out"],
    )


_BODY = _write(rows_of(5))
_HEAD = len(_write([]))
_DEEP: Any = "long"
for _ in range(200):
    _DEEP = {"type": "array", "items": _DEEP}

CASE = Case(
    format="avro",
    options=AvroOptions(),
    write=_write,
    typed=TYPED,
    bad=[_with_a_late_time()],
    broken={
        "no sync marker at the end": _BODY[:-16] + bytes(16),
        "a block of fewer rows than it claims": _BODY[:_HEAD] + bytes([12]) + _BODY[_HEAD + 1 :],
        "a block of more rows than it claims": _BODY[:_HEAD] + bytes([8]) + _BODY[_HEAD + 1 :],
        "a block that claims no rows": _BODY[:_HEAD] + bytes([0]) + _BODY[_HEAD + 1 :],
        "a negative number of rows": _BODY[:_HEAD] + bytes([1]) + _BODY[_HEAD + 1 :],
    },
    empty=_write([]),
    cut_shows=False,  # a file that ends behind a block is whole, as far as anyone can tell
    too_deep=written(record(x=_DEEP), []),
    many=40_000,
)
