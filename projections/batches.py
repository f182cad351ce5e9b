"""The view of batches: one row a batch, one row a file that was found or failed."""

from events.batch import (
    BatchAdvanced,
    BatchCompleted,
    BatchFailed,
    BatchOpened,
    BatchRedriven,
    BatchSealed,
    FileFailed,
    FileFinished,
    FileFound,
    FilesListed,
    RowsQuarantined,
)
from events.catalog import encode
from projections.sqlite import Fold, Projection, Row, to_microseconds

SCHEMA = (
    # `paths` (of all files, if they need not be looked for) and `labels` are MessagePack. The last two columns are
    # for retention.
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
    CREATE TABLE batch_paths (
        batch TEXT NOT NULL,
        first INTEGER NOT NULL,
        paths BLOB NOT NULL,
        PRIMARY KEY (batch, first)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE batch_files (
        batch TEXT NOT NULL,
        file_index INTEGER NOT NULL,
        status TEXT NOT NULL,
        size INTEGER,
        format TEXT,
        "rows" INTEGER,
        jobs INTEGER,
        bad INTEGER,
        error TEXT,
        PRIMARY KEY (batch, file_index)
    ) WITHOUT ROWID
    """,
    # What has failed is read on after a redrive.
    """
    CREATE TRIGGER batch_redriven AFTER UPDATE OF status ON batches
    WHEN OLD.status = 'failed' AND NEW.status = 'reading' BEGIN
        UPDATE batch_files SET status = 'reading', error = NULL WHERE batch = NEW.id AND status = 'failed';
    END
    """,
)

OPEN = """
    INSERT INTO batches (id, spec, status, paths, labels, opened_at) VALUES (?, ?, 'reading', ?, ?, ?)
    ON CONFLICT (id) DO NOTHING
"""
LIST = "INSERT INTO batch_paths (batch, first, paths) VALUES (?, ?, ?) ON CONFLICT (batch, first) DO NOTHING"
# Each event says only what it knows; a file can fail before it was found.
READ = """
    INSERT INTO batch_files (batch, file_index, status, size, format, "rows", jobs, bad, error)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (batch, file_index) DO UPDATE SET
        status = excluded.status, size = coalesce(excluded.size, size), format = coalesce(excluded.format, format),
        "rows" = coalesce(excluded."rows", "rows"), jobs = coalesce(excluded.jobs, jobs),
        bad = max(coalesce(excluded.bad, 0), coalesce(bad, 0)), error = excluded.error
"""
REDRIVE = """
    UPDATE batches SET status = 'reading', error = NULL, ended_at = NULL, last_sequence = NULL, events = NULL
    WHERE id = ?
"""
SEAL = "UPDATE batches SET status = 'sealed', sealed_at = ? WHERE id = ?"
END = "UPDATE batches SET status = ?, error = ?, ended_at = ?, last_sequence = ?, events = ? WHERE id = ?"


def _opened(event: BatchOpened, _: int) -> Row:
    details = event.details
    labels = encode(details.labels) if details.labels else None
    paths = encode(() if details.searched else details.files)
    return (event.originator_id, details.spec, paths, labels, to_microseconds(event.at))


def _listed(event: FilesListed, _: int) -> Row:
    return (event.originator_id, event.first, encode(event.paths))


def _found(event: FileFound, _: int) -> Row:
    return (event.originator_id, event.file_index, "reading", event.size, event.format, None, None, None, None)


def _advanced(event: BatchAdvanced, _: int) -> Row:
    bad = event.position.bad
    return (event.originator_id, event.file_index, "reading", None, None, event.rows, event.jobs, bad, None)


def _quarantined(event: RowsQuarantined, _: int) -> Row:
    bad = event.bad_before + len(event.faults)
    return (event.originator_id, event.file_index, "reading", None, None, None, None, bad, None)


def _finished(event: FileFinished, _: int) -> Row:
    return (event.originator_id, event.file_index, "finished", None, None, event.rows, event.jobs, event.bad, None)


def _file_failed(event: FileFailed, _: int) -> Row:
    error = event.fault.message
    return (event.originator_id, event.file_index, "failed", None, None, event.rows, event.jobs, event.bad, error)


def _sealed(event: BatchSealed, _: int) -> Row:
    return (to_microseconds(event.at), event.originator_id)


def _completed(event: BatchCompleted, sequence: int) -> Row:
    return ("completed", None, *_end(event, sequence))


def _failed(event: BatchFailed, sequence: int) -> Row:
    return ("failed", event.reason, *_end(event, sequence))


def _redriven(event: BatchRedriven, _: int) -> Row:
    return (event.originator_id,)


def _end(event: BatchCompleted | BatchFailed, sequence: int) -> Row:
    return (to_microseconds(event.at), sequence, event.originator_version, event.originator_id)


BATCHES = Projection(
    SCHEMA,
    {
        BatchOpened: Fold(OPEN, _opened),
        FilesListed: Fold(LIST, _listed),
        FileFound: Fold(READ, _found),
        BatchAdvanced: Fold(READ, _advanced),
        RowsQuarantined: Fold(READ, _quarantined),
        FileFinished: Fold(READ, _finished),
        FileFailed: Fold(READ, _file_failed),
        BatchSealed: Fold(SEAL, _sealed),
        BatchCompleted: Fold(END, _completed),
        BatchFailed: Fold(END, _failed),
        BatchRedriven: Fold(REDRIVE, _redriven),
    },
)
