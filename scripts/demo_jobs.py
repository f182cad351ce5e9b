"""The kinds of jobs that the demo and the benches run."""

import asyncio
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import rota


@rota.job
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@rota.job
async def nothing() -> None:
    """Do nothing, as fast as that goes."""


@rota.job
async def count(rows: pa.Table) -> int:
    """Count the rows."""
    return int(rows.num_rows)


@rota.job
async def count_slowly(rows: pa.Table, seconds: float) -> int:
    """Count the rows, and take so long for it."""
    await asyncio.sleep(seconds)
    return int(rows.num_rows)


@rota.job
async def tally(rows: pa.Table) -> dict[str, Any]:
    """Count rows and add up what tells whether each of them came, once and whole."""
    return {
        "rows": rows.num_rows,
        "ids": pc.sum(rows["id"]).as_py(),
        "cents": pc.sum(rows["cents"]).as_py(),
        "letters": pc.sum(pc.binary_length(rows["note"])).as_py(),
    }


@rota.job
async def total(values: list[int]) -> int:
    """Add up some numbers."""
    return sum(values)
