"""The kinds of jobs that the acceptance tests run."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

import rota
from scripts.dataset import sums
from scripts.demo_jobs import add, tally
from tests.acceptance.undisturbed import mark

__all__ = [
    "add",
    "describe",
    "echo",
    "fussy",
    "give",
    "note",
    "of_json",
    "of_messagepack",
    "refuse",
    "sleep",
    "slow_tally",
    "stumble",
    "tally",
    "tally_dicts",
    "trace",
]


@rota.job
async def describe(context: rota.Context) -> dict[str, Any]:
    """Tell what the job is."""
    details = context.details
    return {"id": context.job_id, "queue": details.queue, "labels": details.labels, "attempt": context.attempt}


@rota.job
def note(runs: str) -> None:
    """Add a line to a file: it shows how often the job ran."""
    _note(runs, "ran")


@rota.job
async def sleep(seconds: float) -> None:
    """Take time."""
    await asyncio.sleep(seconds)


@rota.job(retry=rota.RetryPolicy(max_attempts=3, delay_seconds=0.1))
async def stumble(times: int, context: rota.Context) -> int:
    """Fail so many times, then return the number of the attempt."""
    if context.attempt <= times:
        raise ValueError(f"attempt {context.attempt} stumbles")
    return context.attempt


@rota.job
async def give(value: Any) -> Any:
    """Return what it is given."""
    return value


@rota.job(retry=rota.RetryPolicy(max_attempts=1))
async def refuse() -> None:
    """Fail."""
    raise ValueError("it is refused")


@rota.job
def slow_tally(rows: pa.Table, seconds: float, runs: str, context: rota.Context) -> dict[str, Any]:
    """Do as `tally`, slowly, and note each run."""
    _note(runs, context.job_id)
    time.sleep(seconds)
    return sums(rows)


@rota.job
def tally_dicts(rows: list[dict[str, Any]], context: rota.Context) -> dict[str, Any]:
    """Do as `tally` with rows as dicts, and tell which they are."""
    assert context.rows
    return {
        "rows": len(rows),
        "ids": sum(row["id"] for row in rows),
        "file": context.rows.file,
        "index": context.rows.index,
        "first_row": context.rows.first_row,
        "first": rows[0],
    }


@rota.job(retry=rota.RetryPolicy(max_attempts=1))
async def fussy(
    rows: list[dict[str, Any]],
    refused: list[int],
    mended: str,
    runs: str,
    *,
    context: rota.Context,
    seconds: float = 0,
) -> list[int]:
    """Refuse some ids until a file is there, and note each run; else return the ids."""
    _note(runs, context.job_id)
    await asyncio.sleep(seconds)
    ids = [row["id"] for row in rows]
    if not _is_there(mended) and (found := sorted(set(refused) & set(ids))):
        raise ValueError(f"id {found[0]} is refused") if found[0] % 2 else KeyError(found[0])
    return ids


@rota.job
def echo(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows, each with its id doubled."""
    return [{"id": row["id"], "double": 2 * row["id"], "note": row["note"]} for row in rows]


@rota.job(rows="json")
def of_json(rows: list[dict[str, Any]], context: rota.Context) -> list[Any]:
    """Return the form and the first row, as it came."""
    assert context.rows
    return [context.rows.form, len(rows), rows[0]]


@rota.job(rows="messagepack")
def of_messagepack(rows: list[dict[str, Any]], context: rota.Context) -> list[Any]:
    """Return the form and the first row, as it came."""
    assert context.rows
    return [context.rows.form, len(rows), rows[0]]


@rota.job
async def trace(rows: pa.Table, seconds: float, context: rota.Context) -> dict[str, Any]:
    """Take time, and tell which rows came, from where, and in which bytes."""
    await asyncio.sleep(seconds)
    assert context.rows
    return {
        "first_row": context.rows.first_row,
        "count": rows.num_rows,
        "mark": mark(rows),
        "sha256": context.rows.payload.sha256,
    }


def _is_there(path: str) -> bool:
    return Path(path).exists()


def _note(runs: str, line: str) -> None:
    with Path(runs).open("a") as file:
        file.write(f"{line}\n")
