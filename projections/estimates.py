"""How fast a batch is, and how long it will take."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct


class Known(Struct, frozen=True):
    """What is known of a file that is read, or was."""

    finished: bool
    size: int | None
    read: int | None
    """Bytes of it that are in jobs; None if that cannot be told of its format and compression."""


class Progress(Struct, frozen=True, kw_only=True):
    """How far a batch has come at a time."""

    begun_at: datetime
    """When it was opened, or redriven or resumed the last time."""
    now: datetime
    files: Sequence[Known]
    files_total: int | None
    """None as long as they are being looked for."""
    rows: int
    max_rows: int | None
    jobs: int
    jobs_ended: int
    rows_before: int = 0
    """Rows that were in jobs when it was begun."""
    jobs_before: int = 0
    """Jobs that had ended then, and have not been redriven."""

    @property
    def elapsed(self) -> float:
        """Seconds since it was begun."""
        return (self.now - self.begun_at).total_seconds()

    @property
    def read_since(self) -> float:
        """Which share of the rows in jobs came into them since it was begun."""
        return 1 - self.rows_before / self.rows if self.rows else 1.0


def rate(count: int, start: datetime, end: datetime | None) -> float | None:
    """Return how many there are a second between two times; None if none has passed."""
    seconds = (end - start).total_seconds() if end else 0.0
    return count / seconds if seconds > 0 else None


def seconds_left(progress: Progress, *, sealed: bool) -> float | None:
    """Return how long a batch will take if it goes on as since it was begun; None if nobody can tell."""
    share = 1.0 if sealed else share_read(progress)
    ended_since = progress.jobs_ended - progress.jobs_before
    read_since = 1.0 if sealed else progress.read_since
    if not share or progress.elapsed <= 0 or ended_since <= 0 or read_since <= 0:
        # A batch without jobs is over as soon as it is sealed.
        return 0.0 if sealed and not progress.jobs else None
    jobs_left = progress.jobs / share - progress.jobs_ended
    by_jobs = jobs_left * progress.elapsed / ended_since
    by_reading = (1 - share) * progress.elapsed / (share * read_since)
    return max(0.0, by_jobs, by_reading)


def share_read(progress: Progress) -> float | None:
    """Return which share of what there is to read is in jobs, from 0 to 1; None if nobody can tell.

    A file whose size is not known counts as one of mean size, and one of which nobody can tell how far it is read
    as not begun.
    """
    by_rows = min(1.0, progress.rows / progress.max_rows) if progress.max_rows else None
    if not progress.files_total:
        return by_rows
    sizes = [file.size for file in progress.files if file.size is not None]
    mean = sum(sizes) / len(sizes) if sizes else 1.0
    read = 0.0
    for file in progress.files:
        size = mean if file.size is None else file.size
        read += size if file.finished else min(size, file.read or 0) if file.size else 0
    total = sum(sizes) + mean * (progress.files_total - len(sizes))
    share = min(1.0, read / total) if total else None
    return max((one for one in (share, by_rows) if one is not None), default=None)
