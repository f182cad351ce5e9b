"""The view of batches: one row a batch; files, bad rows and collections of results are tables of their own."""

from msgspec.json import encode as to_json

from events.base import Event
from events.batch import (
    BatchCompleted,
    BatchCompletedWithFailures,
    BatchFailed,
    BatchOpened,
    BatchRedriven,
    BatchSealed,
    FilesListed,
)
from events.batch_control import BatchCancelled, BatchCancelling, BatchPaused, BatchResumed
from events.batch_results import ResultsCollected, ResultsFailed, ResultsRequested
from events.catalog import encode
from projections.sqlite import Fold, Projection, Row, to_microseconds
from rota.protocol import BatchStatus

SCHEMA = (
    # As with jobs, the sequence of the first event is the row number. `paths` (of all files, if they need not be
    # looked for) and `labels` are MessagePack; `files` is how many are known, and `listed` whether those are all;
    # `max_rows` is how many rows are taken at most. The two columns after it are for retention: they are set when a
    # batch ends. `mends` is for the table of files: the numbers of those that the last redrive mends, as JSON.
    # Rates count from `begun_at`: the opening, or the last redrive or resume, whose sequence is `begun_sequence`.
    # By then `begun_rows` rows were in jobs, and `begun_jobs` jobs had ended that have not been redriven since.
    """
    CREATE TABLE batches (
        sequence INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        spec TEXT NOT NULL,
        status TEXT NOT NULL,
        labels BLOB,
        opened_at INTEGER NOT NULL,
        sealed_at INTEGER,
        ended_at INTEGER,
        error TEXT,
        files INTEGER NOT NULL,
        listed INTEGER NOT NULL,
        max_rows INTEGER,
        last_sequence INTEGER,
        events INTEGER,
        mends TEXT,
        begun_at INTEGER NOT NULL,
        begun_sequence INTEGER,
        begun_rows INTEGER NOT NULL DEFAULT 0,
        begun_jobs INTEGER NOT NULL DEFAULT 0,
        paths BLOB NOT NULL,
        workflow TEXT
    )
    """,
    "CREATE INDEX batches_by_workflow ON batches (workflow) WHERE workflow IS NOT NULL",
)

OPEN = """
    INSERT INTO batches (
        id, sequence, spec, status, labels, opened_at, begun_at, files, listed, max_rows, paths, workflow
    )
    VALUES (?, ?, ?, 'reading', ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO NOTHING
"""
LIST = "UPDATE batches SET files = max(files, ?), listed = ? WHERE id = ?"
PAUSE = "UPDATE batches SET status = 'paused' WHERE id = ? AND status = 'reading'"
# Jobs are counted by their sequences, since ends that come before may be folded after it: see the table of jobs.
BEGIN = """
    begun_at = ?, begun_sequence = ?,
    begun_rows = (SELECT coalesce(sum("rows"), 0) FROM batch_files WHERE batch_files.batch = batches.id),
    begun_jobs = (SELECT count(*) FROM jobs WHERE jobs.batch = batches.id AND jobs.last_sequence < ?)
"""
# What was sealed meanwhile stays that.
RESUME = f"UPDATE batches SET status = 'reading', {BEGIN} WHERE id = ? AND status = 'paused'"  # noqa: S608 - of our own
SEAL = "UPDATE batches SET status = 'sealed', sealed_at = ? WHERE id = ?"
CANCEL = "UPDATE batches SET status = 'cancelling', error = ? WHERE id = ?"
END = "UPDATE batches SET status = ?, error = ?, ended_at = ?, last_sequence = ?, events = ? WHERE id = ?"
# Where jobs alone are redriven, nothing is left to read.
ALL_READ = """
    ? = '[]' AND listed AND files = (
        SELECT count(*) FROM batch_files WHERE batch_files.batch = batches.id AND batch_files.status = 'finished'
    )
"""
REDRIVE = f"""
    UPDATE batches SET
        status = CASE WHEN {ALL_READ} THEN 'sealed' ELSE 'reading' END,
        sealed_at = CASE WHEN {ALL_READ} THEN sealed_at END,
        error = NULL, ended_at = NULL, last_sequence = NULL, events = NULL,
        mends = ?, files = files + json_array_length(?), {BEGIN}
    WHERE id = ?
"""  # noqa: S608 - of the texts above
# What is told of a batch after its end is removed with it.
GO_ON = "UPDATE batches SET last_sequence = ?, events = ? WHERE id = ? AND last_sequence IS NOT NULL"

End = BatchCancelled | BatchCompleted | BatchCompletedWithFailures | BatchFailed
ENDS: dict[type[End], BatchStatus] = {
    BatchCancelled: "cancelled",
    BatchCompleted: "completed",
    BatchCompletedWithFailures: "completed_with_failures",
    BatchFailed: "failed",
}


def _opened(event: BatchOpened, sequence: int) -> Row:
    details = event.details
    paths = () if details.searched else details.files
    at = to_microseconds(event.at)
    return (
        event.originator_id,
        sequence,
        details.spec,
        encode(details.labels) if details.labels else None,
        at,
        at,
        len(paths),
        not details.searched,
        details.limit,
        encode(paths),
        details.workflow.id if details.workflow else None,
    )


def _listed(event: FilesListed, _: int) -> Row:
    return (event.first + len(event.paths), event.last, event.originator_id)


def _paused(event: BatchPaused, _: int) -> Row:
    return (event.originator_id,)


def _resumed(event: BatchResumed, sequence: int) -> Row:
    return (*_begun(event, sequence), event.originator_id)


def _begun(event: BatchRedriven | BatchResumed, sequence: int) -> Row:
    return (to_microseconds(event.at), sequence, sequence)


def _sealed(event: BatchSealed, _: int) -> Row:
    return (to_microseconds(event.at), event.originator_id)


def _cancelling(event: BatchCancelling, _: int) -> Row:
    return (event.reason or None, event.originator_id)


def _redriven(event: BatchRedriven, sequence: int) -> Row:
    mends = to_json(event.mends).decode()
    return (mends, mends, mends, mends, *_begun(event, sequence), event.originator_id)


def _ended(event: End, sequence: int) -> Row:
    reason = None if isinstance(event, BatchCompleted) else event.reason or None
    return (ENDS[type(event)], reason, to_microseconds(event.at), *_last(event, sequence))


def _last(event: Event, sequence: int) -> Row:
    return (sequence, event.originator_version, event.originator_id)


BATCHES = Projection(
    SCHEMA,
    {
        BatchOpened: Fold(OPEN, _opened),
        FilesListed: Fold(LIST, _listed),
        BatchPaused: Fold(PAUSE, _paused),
        BatchResumed: Fold(RESUME, _resumed),
        BatchSealed: Fold(SEAL, _sealed),
        BatchCancelling: Fold(CANCEL, _cancelling),
        BatchRedriven: Fold(REDRIVE, _redriven),
        **dict.fromkeys(ENDS, Fold(END, _ended)),
        ResultsCollected: Fold(GO_ON, _last),
        ResultsFailed: Fold(GO_ON, _last),
        ResultsRequested: Fold(GO_ON, _last),
    },
)
