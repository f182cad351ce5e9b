"""How many rows and jobs a batch will have, by what was seen of its first files and the sizes of all."""

from collections.abc import Sequence
from math import ceil

from msgspec import Struct

from events.batch import BatchDetails

Span = tuple[int, int]
"""A job's first row in its file, and how many it has."""


class Seen(Struct, frozen=True, kw_only=True):
    """What the head of a file tells of its rows and jobs."""

    size: int | None
    rows_read: int
    held_bytes: int
    """Of these rows, as Arrow holds their values."""
    rows: int | None
    """In the whole file, as far as that can be told."""
    whole: bool
    """Whether the head is all of it."""
    spans: Sequence[Span] | None
    """The jobs in the head, of which the last may have more rows; None if it is not known where they begin."""
    is_row: bool = False
    """Whether the file is one row, whatever its size."""


class Estimate(Struct, frozen=True):
    """Rows and jobs of a batch; None if they cannot be told. `exact` if all was read."""

    rows: int | None = None
    jobs: int | None = None
    exact: bool = False


def estimated(seen: Sequence[Seen], others: Sequence[int | None], details: BatchDetails) -> Estimate:
    """Estimate the rows and jobs of the files that were looked at, and of others of these sizes, in this order."""
    rows = jobs = 0
    exact = True
    over, left = details.first, details.limit
    per_job = _rows_per_job(seen, details)
    for one in [*seen, *others]:
        if left == 0:
            break
        count = one.rows if isinstance(one, Seen) else _rows_by_size(one, seen)
        if count is None:
            return Estimate()
        taken = max(0, count - over)
        over = max(0, over - count)
        if left is not None:
            taken = min(taken, left)
            left -= taken
        rows += taken
        if isinstance(one, Seen) and one.whole and one.spans is not None:
            jobs += len(one.spans)
        else:
            exact = False
            jobs += min(1, taken) if per_job is None else ceil(taken / per_job)
    return Estimate(rows, jobs, exact)


def _rows_by_size(size: int | None, seen: Sequence[Seen]) -> int | None:
    """Return how many rows a file has if it is like those that were looked at."""
    if all(one.is_row for one in seen):
        return 1
    if size == 0:
        return 0
    sizes = [one.size for one in seen if one.size is not None]
    rows = [one.rows for one in seen if one.rows is not None]
    if size is None or len(sizes) < len(seen) or len(rows) < len(seen) or not sum(sizes):
        return None
    return round(size * sum(rows) / sum(sizes))


def _rows_per_job(seen: Sequence[Seen], details: BatchDetails) -> float | None:
    """Return how many rows a job has that is full; None if each file is one job."""
    full = [count for one in seen for _, count in (one.spans or [])[:-1]]
    if full:
        return sum(full) / len(full)
    limits: list[float] = []
    if details.rows_per_job is not None:
        limits.append(details.rows_per_job)
    held, rows = sum(one.held_bytes for one in seen), sum(one.rows_read for one in seen)
    if details.bytes_per_job is not None and held:
        limits.append(max(1, details.bytes_per_job * rows // held))
    return min(limits, default=None)
