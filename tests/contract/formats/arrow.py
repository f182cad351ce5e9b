"""Arrow in the suite: as a file; streams and Feather have tests of their own."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from rota.options import ArrowOptions
from tests.contract.formats.case import Case
from tests.contract.formats.typed import written

SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string()), ("price", pa.float64()), ("paid", pa.bool_())])
ROWS_PER_BATCH = 3000


def _write(rows: Sequence[dict[str, Any]]) -> bytes:
    return _file(pa.Table.from_pylist(list(rows), SCHEMA))


def _file(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, ROWS_PER_BATCH)
    return bytes(sink.getvalue())


CASE = Case(
    format="arrow",
    options=ArrowOptions(),
    write=_write,
    typed=written(_file),
    empty=_write([]),
)
