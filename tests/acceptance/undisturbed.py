"""What a batch must come to, however often its readers are killed: its files, cut here by nobody disturbed."""

import hashlib
import importlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import Struct

from actors.cutter import Cutter, JobLimits
from actors.formats.input import Input
from actors.formats.registry import read
from events.ids import batch_job_id
from rota.options import BadRows, Options
from tests.contract.formats.case import START, Body, Case, rows_of

HELD = {"ods", "toml", "xlsx"}
"""Formats whose files are held in memory: after each kill they are read from the start."""
HELD_ROWS = 2_000


class JobRows(Struct, frozen=True):
    """The rows of one job: which they are, and the digest of what a worker gets of them."""

    first_row: int
    count: int
    mark: str
    sha256: str = ""
    """Not known where a row has in it what only its server knows: its media type."""


class Plan(Struct, frozen=True, kw_only=True):
    """A batch to be read: its files by name, in the order of the batch."""

    name: str
    format: str
    files: dict[str, bytes]
    rows_per_job: int
    options: Options
    bad_rows: BadRows = "fail"
    request: dict[str, Any] = {}
    """What else is asked of the batch."""

    @property
    def fields(self) -> dict[str, Any]:
        """Return what is asked of the batch."""
        return {
            "files": list(self.files),
            "format": self.format,
            "options": msgspec.to_builtins(self.options),
            "rows_per_job": self.rows_per_job,
            "bad_rows": self.bad_rows,
            **self.request,
        }

    def jobs(self, batch: str) -> dict[str, JobRows]:
        """Return the jobs that the batch must have, by their ids."""
        return {
            batch_job_id(batch, number, index): rows
            for number, (name, body) in enumerate(self.files.items())
            for index, rows in enumerate(self._cut(name, body))
        }

    def faults(self) -> dict[int, list[str]]:
        """Return what must be said of the bad rows, by the number of the file, in their order."""
        return {
            number: [fault.message for block in self._blocks(name, body) for fault in block.bad]
            for number, (name, body) in enumerate(self.files.items())
        }

    def _cut(self, name: str, body: bytes) -> Iterator[JobRows]:
        for one in Cutter(JobLimits(self.rows_per_job)).cut(self._blocks(name, body)):
            for piece in one.slices:
                table = pa.ipc.open_stream(piece.body).read_all()
                digest = "" if self.format == "raw" else piece.sha256
                yield JobRows(piece.first_row, piece.count, mark(table), digest)

    def _blocks(self, name: str, body: bytes) -> Iterator[Any]:
        return read(self.format, Input(Body(body, name)), self.options, START, bad_rows=self.bad_rows)


def plan_of(format_: str, jobs: int) -> Plan:
    """Return a batch of about so many jobs of a format: a file of several blocks, or a file for each row."""
    case = case_of(format_)
    suffix = format_ if format_ != "raw" else "bin"
    if case.one_row_a_file:
        files = {f"{format_}/{n:03}.{suffix}": case.write(rows_of(1, first=n)) for n in range(jobs)}
        return Plan(name=format_, format=format_, files=files, rows_per_job=1, options=case.options)
    count = HELD_ROWS if format_ in HELD else case.many
    body = case.write(rows_of(count))
    rows_per_job = -(-count // jobs)
    return Plan(
        name=format_,
        format=format_,
        files={f"{format_}.{suffix}": body},
        rows_per_job=rows_per_job,
        options=case.options,
    )


def case_of(format_: str) -> Case:
    """Return the case of a format in the suite of all formats."""
    case: Case = importlib.import_module(f"tests.contract.formats.{format_}").CASE
    return case


def mark(table: pa.Table) -> str:
    """Return what tells rows from all others: a digest of their ids, or of their bytes where they have none."""
    column = "id" if "id" in table.column_names else "bytes"
    return hashlib.sha256(repr(table.column(column).to_pylist()).encode()).hexdigest()[:32]
