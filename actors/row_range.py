"""Which rows of a file a batch takes that passes over its `first` rows, or has a `limit`, over all files."""

from collections.abc import Sequence

from msgspec import Struct

from events.batch import BatchDetails
from events.batch_state import FileState


class RowRange(Struct, frozen=True):
    """Rows of one file, by their numbers in it."""

    passed: int = 0
    """So many are passed over at its start."""
    end: int | None = None
    """Number of the first row that is not taken any more; None if all are taken."""

    @property
    def is_empty(self) -> bool:
        """Whether the limit was reached before this file."""
        return self.end is not None and self.end <= self.passed


def row_range(details: BatchDetails, files: Sequence[FileState], index: int) -> RowRange:
    """Return the range of a file; those before it have been read to their ends.

    A file whose bad rows are read again counts for the limit, and none of its rows are passed over: they were
    passed over already.
    """
    before = files[:index]
    passed = 0
    if files[index].mends is None:
        passed = max(0, details.first - sum(file.passed for file in before))
    if details.limit is None:
        return RowRange(passed)
    return RowRange(passed, passed + max(0, details.limit - sum(file.rows for file in before)))
