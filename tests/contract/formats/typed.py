"""Columns of all types that Arrow and Parquet know alike."""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

COLUMNS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "uint64": (pa.uint64(), [0, 2**64 - 1, None]),
    "decimal": (pa.decimal128(20, 2), [Decimal("123456789012345678.90"), None]),
    "wide decimal": (pa.decimal256(60, 1), [Decimal("1" * 59 + ".5")]),
    "date": (pa.date32(), [date(1969, 7, 20), None]),
    "time": (pa.time64("us"), [time(23, 59, 59, 999999)]),
    "timestamp": (pa.timestamp("us"), [datetime(2026, 3, 1, 12, 30)]),  # noqa: DTZ001 - it has no zone
    "timestamp with a zone": (
        pa.timestamp("us", "Europe/Berlin"),
        [datetime(2026, 3, 1, 12, 30, tzinfo=ZoneInfo("Europe/Berlin"))],
    ),
    "duration": (pa.duration("us"), [timedelta(seconds=1.5)]),
    "nested": (
        pa.list_(pa.struct([("a", pa.int8()), ("b", pa.list_(pa.string()))])),
        [[{"a": 1, "b": ["x", None]}], [], None],
    ),
    "map": (pa.map_(pa.string(), pa.int32()), [[("a", 1), ("b", None)], [], None]),
    "binary": (pa.binary(), [b"\x00\xff", b"", None]),
    "null against empty": (pa.string(), ["", None, "null"]),
    "NaN": (pa.float64(), [float("nan"), float("inf"), -0.0, None]),
}


def written(write: Callable[[pa.Table], bytes]) -> dict[str, tuple[bytes, pa.DataType, list[Any]]]:
    """Return each of them as a file of one column."""
    return {
        name: (write(pa.table({"x": pa.array(values, type_)})), type_, values)
        for name, (type_, values) in COLUMNS.items()
    }
