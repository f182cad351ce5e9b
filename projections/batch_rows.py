"""Which job of a batch had a row, and what became of it."""

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from events.ids import batch_job_id
from rota.batch_protocol import RowView
from rota.errors import InvalidRequestError, NotFoundError, UnavailableError
from rota.protocol import JobFault, Rows


class ReadFile(Struct, frozen=True):
    """How far a file of a batch is in jobs."""

    batch: str
    index: int
    path: str
    finished: bool
    passed: int
    """Rows at its start that no job has."""
    rows: int
    jobs: int


class RowsJob(Struct, frozen=True):
    """A job with its rows."""

    id: str
    status: str
    rows: Rows
    fault: JobFault | None


def choose(file: str | int | None, paths: dict[int, str], mends: Sequence[int], batch: str) -> int:
    """Return the number of the file that is meant by a path or number; None means the only one.

    Several files may have one path if rows are mended: then the first is meant. NotFoundError if there is none,
    InvalidRequestError if it must be said which.
    """
    if file is None:
        own = paths.keys() - set(mends)
        if len(own) != 1:
            raise InvalidRequestError(f"The batch {batch} has {len(own)} files: name the one with `file`")
        return own.pop()
    if isinstance(file, int):
        found = [file] if file in paths else []
    else:
        found = sorted(index for index, path in paths.items() if path == file and index not in mends)
        if not found and file.isdecimal() and file.isascii() and int(file) in paths:
            found = [int(file)]
    if not found:
        raise NotFoundError(f"The batch {batch} has no file {file!r} by now", batch=batch)
    return found[0]


def find_row(file: ReadFile, row: int, find_job: Callable[[str], RowsJob | None]) -> RowView:
    """Return which job has a row, by its number in the file.

    NotFoundError says why there is none, UnavailableError that there is one which is not known here yet. The jobs
    of a file have numbers, and their rows grow with them; those that are not there yet are the last ones.
    """
    last = file.passed + file.rows - 1
    if row < file.passed:
        raise NotFoundError(
            f"Row {row} of {file.path} was passed over: the first of its rows in a job is {file.passed}"
        )
    if file.finished and row > last:
        those = f"rows {file.passed} to {last} are" if file.rows else "none is"
        raise NotFoundError(f"No job has row {row} of {file.path}: it is read to its end, and {those} in jobs")
    found = _search(file, row, find_job)
    if found is None and row > last:
        raise NotFoundError(
            f"{file.path} is not read as far as row {row}: {file.rows} of its rows are in jobs by now"
        )
    if found is None:
        raise UnavailableError(
            f"The views do not have the job with row {row} of {file.path} yet: try again in a moment"
        )
    return RowView(
        file=file.path,
        file_index=file.index,
        row=row,
        job=found.id,
        status=found.status,
        first_row=found.rows.first_row,
        last_row=found.rows.first_row + found.rows.count - 1,
        error=msgspec.to_builtins(found.fault) if found.fault else None,
    )


def _search(file: ReadFile, row: int, find_job: Callable[[str], RowsJob | None]) -> RowsJob | None:
    def at(index: int) -> RowsJob | None:
        return find_job(batch_job_id(file.batch, file.index, index))

    # Jobs may be there that the batch has not told of.
    low, high = 0, max(file.jobs, 1)
    while (job := at(high)) and job.rows.first_row <= row:
        low, high = high, 2 * high
    # The job before `low + 1` begins at the row or before it, if any does; the one at `high` behind it.
    while high - low > 1:
        middle = (low + high) // 2
        job = at(middle)
        if job and job.rows.first_row <= row:
            low = middle
        else:
            high = middle
    job = at(low)
    return job if job and job.rows.first_row <= row < job.rows.first_row + job.rows.count else None
