"""TSV in the suite of all formats."""

from msgspec.structs import replace

from rota.options import TsvOptions
from tests.contract.formats.csv import CASE as CSV
from tests.contract.formats.csv import write

CASE = replace(
    CSV,
    format="tsv",
    options=TsvOptions(),
    write=lambda rows: write(rows, "\t"),
    typed={kept: (body.replace(b",", b"\t"), type_, values) for kept, (body, type_, values) in CSV.typed.items()},
    bad=[
        replace(
            CSV.bad[0],
            body=CSV.bad[0].body.replace(b",", b"\t"),
            options=TsvOptions(column_types={"cents": "int64"}),
        )
    ],
    broken={"a quote that is not closed": CSV.broken["a quote that is not closed"].replace(b",", b"\t")},
    empty=b"id\tname\tprice\tpaid\n",
)
