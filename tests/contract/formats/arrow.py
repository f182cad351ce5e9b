"""Arrow in the suite: as a file; streams and Feather have tests of their own."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from rota.options import ArrowOptions
from tests.contract.formats.case import Case

SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string()), ("price", pa.float64()), ("paid", pa.bool_())])
ROWS_PER_BATCH = 3000


def _write(rows: Sequence[dict[str, Any]]) -> bytes:
    return _file(pa.Table.from_pylist(list(rows), SCHEMA))


def _file(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, ROWS_PER_BATCH)
    return bytes(sink.getvalue())


def _typed(type_: pa.DataType, values: list[Any]) -> tuple[bytes, pa.DataType, list[Any]]:
    return _file(pa.table({"x": pa.array(values, type_)})), type_, values


TYPED = {
    "uint64": _typed(pa.uint64(), [0, 2**64 - 1, None]),
    "decimal": _typed(pa.decimal128(20, 2), [Decimal("123456789012345678.90"), None]),
    "wide decimal": _typed(pa.decimal256(60, 1), [Decimal("1" * 59 + ".5")]),
    "date": _typed(pa.date32(), [date(1969, 7, 20), None]),
    "time": _typed(pa.time64("us"), [time(23, 59, 59, 999999)]),
    "timestamp": _typed(pa.timestamp("us"), [datetime(2026, 3, 1, 12, 30)]),  # noqa: DTZ001 - it has no zone
    "timestamp with a zone": _typed(
        pa.timestamp("us", "Europe/Berlin"), [datetime(2026, 3, 1, 12, 30, tzinfo=ZoneInfo("Europe/Berlin"))]
    ),
    "duration": _typed(pa.duration("us"), [timedelta(seconds=1.5)]),
    "nested": _typed(
        pa.list_(pa.struct([("a", pa.int8()), ("b", pa.list_(pa.string()))])),
        [[{"a": 1, "b": ["x", None]}], [], None],
    ),
    "map": _typed(pa.map_(pa.string(), pa.int32()), [[("a", 1), ("b", None)], [], None]),
    "binary": _typed(pa.binary(), [b"\x00\xff", b"", None]),
    "null against empty": _typed(pa.string(), ["", None, "null"]),
    "NaN": _typed(pa.float64(), [float("nan"), float("inf"), -0.0, None]),
}


CASE = Case(
    format="arrow",
    options=ArrowOptions(),
    write=_write,
    typed=TYPED,
    empty=_write([]),
)
