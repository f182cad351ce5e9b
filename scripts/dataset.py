"""A CSV to read: made up, always the same for a number of rows, with the sums that tell whether all rows came."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

COUNTRIES = np.array(["de", "fr", "jp", "us"])


def orders(rows: int) -> pa.Table:
    """Return a table of 10 columns."""
    random = np.random.default_rng(rows)
    ids = np.arange(rows, dtype=np.int64)
    days = np.datetime64("2026-01-01") + random.integers(0, 365, rows).astype("timedelta64[D]")
    return pa.table(
        {
            "id": ids,
            "customer": random.integers(0, 100_000, rows),
            "quantity": random.integers(1, 100, rows),
            "cents": random.integers(100, 1_000_000, rows),
            "discount": random.integers(0, 100, rows) / 100,
            "country": COUNTRIES[random.integers(0, len(COUNTRIES), rows)],
            "product": pc.binary_join_element_wise(
                "SKU", pc.cast(pa.array(random.integers(100_000, 1_000_000, rows)), pa.string()), ""
            ),
            "day": pa.array(days),
            "paid": pa.array(random.integers(0, 2, rows).astype(bool)),
            "note": pc.binary_join_element_wise("order", pc.cast(pa.array(ids), pa.string()), " "),
        }
    )


def as_csv(table: pa.Table) -> bytes:
    """Return the table as CSV with a header."""
    sink = io.BytesIO()
    csv.write_csv(table, sink)
    return sink.getvalue()


def sums(table: pa.Table) -> dict[str, Any]:
    """Return what the jobs `tally` of all rows must add up to."""
    return {
        "rows": table.num_rows,
        "ids": pc.sum(table["id"]).as_py(),
        "cents": pc.sum(table["cents"]).as_py(),
        "letters": pc.sum(pc.binary_length(table["note"])).as_py(),
    }
