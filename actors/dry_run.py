"""The dry run of a batch: what its files are, and what its first jobs would be, without a trace."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
from msgspec.structs import replace

from actors.cutter import Cutter, JobLimits
from actors.estimate import Seen, Span, estimated
from actors.file_head import Head, read_head
from actors.file_search import FileSearch
from actors.formats.block import Block
from actors.opening import configured
from actors.shown_rows import clipped, shown_columns, shown_rows
from events.batch import BatchDetails, FileFault
from events.sources import Connection
from rota.batch_protocol import BadRowView, DryRunBatch, DryRunFile, DryRunView
from rota.errors import NotFoundError, RotaError

FILES_READ = 3
JOBS_SHOWN = 3
ROWS_SHOWN = 5
BAD_ROWS_SHOWN = 20
MESSAGE_CHARACTERS = 1000


def dry_run(sources: dict[str, Connection], details: BatchDetails) -> DryRunView:
    """Find the files of a batch, read the heads of the first ones, and cut the first jobs as the batch would.

    It blocks for less than a minute, and holds the head of one file at a time. It raises nothing that is the fault
    of a file or a source: that stands in the view.
    """
    try:
        source = configured(sources, details.connection)
    except NotFoundError as gone:
        return DryRunView(files=[], files_total=0, jobs=[], error=str(gone))
    search = FileSearch(source, details)
    paths = search.paths()
    look = _Look(details)
    for path in paths[:FILES_READ]:
        look.add(read_head(source, path, details))
    error = search.error or look.error
    view = DryRunView(
        files=look.files,
        files_total=len(paths),
        jobs=look.jobs,
        error=None if error is None else clipped(error, MESSAGE_CHARACTERS),
    )
    if search.error is not None:
        return view
    found = estimated(look.seen, search.sizes(paths[FILES_READ:]), details)
    exact = found.exact and error is None
    return replace(view, rows_estimated=found.rows, jobs_estimated=found.jobs, exact=exact)


class _Look:
    """Goes through the heads of the first files, in order."""

    def __init__(self, details: BatchDetails) -> None:
        self._details = details
        self._over = details.first
        self._left = details.limit
        self._lost = False
        """Whether it is not known any more how many rows are still to be passed over, or taken."""
        self._bad = 0
        self.files: list[DryRunFile] = []
        self.jobs: list[DryRunBatch] = []
        self.seen: list[Seen] = []
        self.error: str | None = None
        """Why the batch would fail."""

    def add(self, head: Head) -> None:
        """Show a file and the first of its jobs, and note what it tells of the whole batch."""
        spans = None
        if not self._lost and self._left != 0:
            spans = self._spans(head)
        elif self._left is None:
            self._note_errors(head, self._fault(head, None))
        index = len(self.files)
        self.files.append(
            DryRunFile(
                path=head.path,
                size=head.size,
                version=head.version,
                format=head.format,
                compression=head.compression,
                columns=shown_columns(head.schema),
                rows_read=head.rows,
                bad_rows=[
                    _bad_row(fault, head.path, index, number)
                    for number, fault in enumerate(head.bad[:BAD_ROWS_SHOWN])
                ],
                error=None if head.error is None else clipped(head.error, MESSAGE_CHARACTERS),
            )
        )
        self.seen.append(
            Seen(
                size=head.size,
                rows_read=head.rows,
                held_bytes=sum(block.table.nbytes for block in head.blocks),
                rows=head.rows_in_all,
                whole=head.whole,
                spans=spans,
                is_row=head.format == "raw",
            )
        )

    def _spans(self, head: Head) -> Sequence[Span] | None:
        """Cut the rows of a head into jobs, and show the first; None if the batch would fail in it."""
        over = self._over
        end = None if self._left is None else over + self._left
        reached = end is not None and head.rows >= end
        fault = self._fault(head, end)
        spans: list[Span] = []
        stop = min(head.rows, head.rows if end is None else end) if fault is None else fault.row or 0
        if stop > over:
            try:
                spans = _cut(head.blocks, self._details, over, stop)
            except RotaError as error:
                head.error, reached = f"{head.path}: {error}", False
        self._show(head, spans if reached or (head.whole and fault is None) else spans[:-1] or spans)
        self._note_errors(head, fault, reached=reached)
        self._over = max(0, over - head.rows)
        if self._left is not None:
            self._left -= max(0, stop - over)
        self._lost = not head.whole and (self._over > 0 or bool(self._left))
        return spans if fault is None and head.error is None else None

    def _fault(self, head: Head, end: int | None) -> FileFault | None:
        """Return the bad row at which the batch would fail."""
        if self._details.bad_rows != "fail" or not head.bad:
            return None
        first = head.bad[0]
        return first if end is None or (first.row or 0) < end else None

    def _note_errors(self, head: Head, fault: FileFault | None, *, reached: bool = False) -> None:
        self._bad += len(head.bad)
        tolerated = self._details.tolerance.bad_rows
        error = None
        if fault is not None:
            error = f"The batch would fail at a bad row, unless bad_rows is skip or quarantine: {fault.message}"
        elif head.error is not None and not reached:
            error = f"The batch would fail: {head.error}"
        elif tolerated is not None and self._bad > tolerated:
            error = f"The batch would fail: {self._bad} rows cannot be read, and bad_rows tolerates {tolerated}"
        self.error = self.error or error

    def _show(self, head: Head, spans: Sequence[Span]) -> None:
        for first, count in spans[: JOBS_SHOWN - len(self.jobs)]:
            rows = shown_rows(list(_between(head.blocks, first, first + min(count, ROWS_SHOWN))))
            self.jobs.append(DryRunBatch(file=head.path, first_row=first, count=count, rows=rows))


def _cut(blocks: Sequence[Block], details: BatchDetails, begin: int, end: int) -> list[Span]:
    """Cut rows into jobs by the batch's rules, from one number in the file to another."""
    cutter = Cutter(JobLimits(details.rows_per_job, details.bytes_per_job), passed=begin, end=end)
    return [(one.first_row, one.count) for some in cutter.cut(blocks) for one in some.slices]


def _between(blocks: Sequence[Block], begin: int, end: int) -> Iterator[pa.Table]:
    """Yield the rows of some blocks from one number in the file to another."""
    for block in blocks:
        start = block.start.row
        low, high = max(start, begin), min(start + block.table.num_rows, end)
        if low < high:
            yield block.table.slice(low - start, high - low)


def _bad_row(fault: FileFault, path: str, index: int, number: int) -> BadRowView:
    return BadRowView(
        file=path,
        file_index=index,
        number=number,
        row=fault.row,
        line=fault.line,
        column=None if fault.column is None else clipped(fault.column),
        text=None if fault.text is None else clipped(fault.text),
        message=clipped(fault.message, MESSAGE_CHARACTERS),
    )
