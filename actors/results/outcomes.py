"""What becomes of the jobs of a collection: counts, and which of them have no results."""

from typing import Any

from events.jetstream.ends import End
from events.job import JobCancelled, JobFailed, JobSucceeded, JobTimedOut
from rota.batch_protocol import MAX_LISTED
from rota.protocol import Rows

MESSAGE_LETTERS = 300
"""Of an error in a manifest; the job's own history has all of it."""
LISTED_BYTES = 1024 * 1024
"""Of the jobs that a manifest lists, since it travels in a message: paths may be long."""
STATUS: dict[type, str] = {JobCancelled: "cancelled", JobFailed: "failed", JobTimedOut: "timed_out"}


class Outcomes:
    """Counts the jobs of a collection."""

    def __init__(self) -> None:
        self.jobs = {"succeeded": 0, "failed": 0, "pending": 0, "total": 0}
        self.pending: list[str] = []
        self._failed: list[tuple[str, End]] = []

    def add(self, job: str, end: End | None) -> None:
        """Take a job, and how it ended."""
        self.jobs["total"] += 1
        if end is None:
            self.jobs["pending"] += 1
            if len(self.pending) < MAX_LISTED:
                self.pending.append(job)
        elif isinstance(end, JobSucceeded):
            self.jobs["succeeded"] += 1
        else:
            self.jobs["failed"] += 1
            if len(self._failed) < MAX_LISTED:
                self._failed.append((job, end))

    @property
    def listed(self) -> list[str]:
        """Ids of the jobs that ended without success and are listed."""
        return [job for job, _ in self._failed]

    def failed(self, rows: dict[str, Rows]) -> list[dict[str, Any]]:
        """Return what is told of the jobs that ended without success; `rows` are theirs, by their ids."""
        found: list[dict[str, Any]] = []
        size = 0
        for job, end in self._failed:
            one: dict[str, Any] = {"job": job, "status": STATUS[type(end)]}
            if its := rows.get(job):
                one |= {"file": its.file, "first_row": its.first_row, "last_row": its.first_row + its.count - 1}
                size += len(its.file.encode())
            one["error"] = _error(end)[:MESSAGE_LETTERS]
            size += len(one["error"].encode())
            if size > LISTED_BYTES:
                break
            found.append(one)
        return found


def _error(end: End) -> str:
    if isinstance(end, JobCancelled):
        return end.reason
    return f"{end.fault.type}: {end.fault.message}" if isinstance(end, JobFailed | JobTimedOut) else ""
