"""Parquet in the suite: three row groups and more."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rota.options import ParquetOptions
from tests.contract.formats.case import Case
from tests.contract.formats.typed import written

SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string()), ("price", pa.float64()), ("paid", pa.bool_())])
ROWS_PER_GROUP = 7000


def _write(rows: Sequence[dict[str, Any]]) -> bytes:
    return _file(pa.Table.from_pylist(list(rows), SCHEMA))


def _file(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=ROWS_PER_GROUP, write_page_checksum=True)
    return bytes(sink.getvalue())


CASE = Case(
    format="parquet",
    options=ParquetOptions(),
    write=_write,
    typed=written(_file),
    empty=_write([]),
)
