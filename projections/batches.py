"""The view of batches: one row a batch, one row a file that was found or failed."""

from events.batch import (
    BatchAdvanced,
    BatchCompleted,
    BatchFailed,
    BatchOpened,
    BatchSealed,
    FileFailed,
    FileFinished,
    FileFound,
)
from events.catalog import encode
from projections.sqlite import Fold, Projection, Row, to_microseconds

SCHEMA = (
    # `paths` (of all files) and `labels` are MessagePack. The last two columns are for retention.
    """
    CREATE TABLE batches (
        id TEXT PRIMARY KEY NOT NULL,
        spec TEXT NOT NULL,
        status TEXT NOT NULL,
        paths BLOB NOT NULL,
        labels BLOB,
        opened_at INTEGER NOT NULL,
        sealed_at INTEGER,
        ended_at INTEGER,
        error TEXT,
        last_sequence INTEGER,
        events INTEGER
    )
    """,
    """
    CREATE TABLE batch_files (
        batch TEXT NOT NULL,
        file_index INTEGER NOT NULL,
        status TEXT NOT NULL,
        size INTEGER,
        "rows" INTEGER,
        jobs INTEGER,
        error TEXT,
        PRIMARY KEY (batch, file_index)
    ) WITHOUT ROWID
    """,
)

OPEN = """
    INSERT INTO batches (id, spec, status, paths, labels, opened_at) VALUES (?, ?, 'reading', ?, ?, ?)
    ON CONFLICT (id) DO NOTHING
"""
# Each event says only what it knows; a file can fail before it was found.
READ = """
    INSERT INTO batch_files (batch, file_index, status, size, "rows", jobs, error) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (batch, file_index) DO UPDATE SET
        status = excluded.status, size = coalesce(excluded.size, size), "rows" = coalesce(excluded."rows", "rows"),
        jobs = coalesce(excluded.jobs, jobs), error = excluded.error
"""
SEAL = "UPDATE batches SET status = 'sealed', sealed_at = ? WHERE id = ?"
END = "UPDATE batches SET status = ?, error = ?, ended_at = ?, last_sequence = ?, events = ? WHERE id = ?"


def _opened(event: BatchOpened, _: int) -> Row:
    details = event.details
    labels = encode(details.labels) if details.labels else None
    return (event.originator_id, details.spec, encode(details.files), labels, to_microseconds(event.at))


def _found(event: FileFound, _: int) -> Row:
    return (event.originator_id, event.file_index, "reading", event.size, None, None, None)


def _advanced(event: BatchAdvanced, _: int) -> Row:
    return (event.originator_id, event.file_index, "reading", None, event.rows, event.jobs, None)


def _finished(event: FileFinished, _: int) -> Row:
    return (event.originator_id, event.file_index, "finished", None, event.rows, event.jobs, None)


def _file_failed(event: FileFailed, _: int) -> Row:
    return (event.originator_id, event.file_index, "failed", None, event.rows, event.jobs, event.fault.message)


def _sealed(event: BatchSealed, _: int) -> Row:
    return (to_microseconds(event.at), event.originator_id)


def _completed(event: BatchCompleted, sequence: int) -> Row:
    return ("completed", None, *_end(event, sequence))


def _failed(event: BatchFailed, sequence: int) -> Row:
    return ("failed", event.reason, *_end(event, sequence))


def _end(event: BatchCompleted | BatchFailed, sequence: int) -> Row:
    return (to_microseconds(event.at), sequence, event.originator_version, event.originator_id)


BATCHES = Projection(
    SCHEMA,
    {
        BatchOpened: Fold(OPEN, _opened),
        FileFound: Fold(READ, _found),
        BatchAdvanced: Fold(READ, _advanced),
        FileFinished: Fold(READ, _finished),
        FileFailed: Fold(READ, _file_failed),
        BatchSealed: Fold(SEAL, _sealed),
        BatchCompleted: Fold(END, _completed),
        BatchFailed: Fold(END, _failed),
    },
)
