"""CSV in the suite of all formats."""

import csv
import io
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from rota.options import CsvOptions
from tests.contract.formats.case import BadSample, Case


def write(rows: Sequence[dict[str, Any]], delimiter: str = ",") -> bytes:
    """Write rows with Python's csv module, all texts in quotes."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["id", "name", "price", "paid"])
    writer.writerows([*list(row.values())[:-1], str(row["paid"]).lower()] for row in rows)
    return out.getvalue().encode()


CASE = Case(
    format="csv",
    options=CsvOptions(),
    write=write,
    many=200_000,
    typed={
        "uint64": (b"x,n\n18446744073709551615,1\n0,2\n", pa.uint64(), [2**64 - 1, 0]),
        "whole numbers beyond 64 bits": (
            b"x,n\n123456789012345678901234567890,1\n7,2\n",
            pa.string(),
            ["123456789012345678901234567890", "7"],
        ),
        "null against empty string": (b'x,n\n,1\n"",2\na,3\n', pa.string(), [None, "", "a"]),
        "NaN": (b"x,n\nnan,1\n1.5,2\n", pa.float64(), [float("nan"), 1.5]),
    },
    bad=[
        BadSample(
            b"id,cents\n1,5\n2,x\n3,7\n",
            [{"id": 1, "cents": 5}, {"id": 3, "cents": 7}],
            1,
            ["line 3", "column cents", "'x' is no int64", "column_types"],
            options=CsvOptions(column_types={"cents": "int64"}),
        ),
        BadSample(
            b"id,tea\n1,a\n2\n3,b,c\n4,d\n",
            [{"id": 1, "tea": "a"}, {"id": 4, "tea": "d"}],
            1,
            ["line 3", "1 columns, not 2: '2'"],
            bad=2,
        ),
        BadSample(
            b"id,tea\n1,a\n2,\xff\n3,b\n",
            [{"id": 1, "tea": "a"}, {"id": 3, "tea": "b"}],
            1,
            ["line 3", "column tea", "no UTF-8", "encoding"],
        ),
        BadSample(
            b"id,price\n1,1.50\n2,1.501\n",
            [{"id": 1, "price": Decimal("1.50")}],
            1,
            ["line 3", "column price", "'1.501' is no decimal(4,2)"],
            options=CsvOptions(column_types={"price": "decimal(4,2)"}),
        ),
    ],
    broken={"a quote that is not closed": write([{"id": 0, "name": "Zoë", "price": 0.0, "paid": True}])[:-12]},
    cut_shows=False,
    empty=b"id,name,price,paid\n",
    empty_file_is_error=False,
)
