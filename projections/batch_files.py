"""The view of the files of batches: one row a file that was found, has failed, or mends another; and all paths."""

from events.batch import (
    BatchAdvanced,
    FileFailed,
    FileFinished,
    FileFound,
    FilesListed,
    RowsQuarantined,
)
from events.catalog import encode
from projections.sqlite import Fold, Projection, Row

SCHEMA = (
    # Of batches whose files have to be looked for: the paths from number `first` on, as MessagePack.
    """
    CREATE TABLE batch_paths (
        batch TEXT NOT NULL,
        first INTEGER NOT NULL,
        paths BLOB NOT NULL,
        PRIMARY KEY (batch, first)
    ) WITHOUT ROWID
    """,
    # `rows` are those in jobs, after the `passed` ones; `columns` is an Arrow schema, and `offset` the byte of the
    # decompressed file up to which the jobs reach. A file that `mends` another one has its path.
    """
    CREATE TABLE batch_files (
        batch TEXT NOT NULL,
        file_index INTEGER NOT NULL,
        status TEXT NOT NULL,
        size INTEGER,
        version TEXT,
        format TEXT,
        compression TEXT,
        "rows" INTEGER,
        jobs INTEGER,
        passed INTEGER,
        bad INTEGER,
        "offset" INTEGER,
        columns BLOB,
        mends INTEGER,
        error TEXT,
        PRIMARY KEY (batch, file_index)
    ) WITHOUT ROWID
    """,
    # They need the table of batches. What has failed is read on after a redrive.
    """
    CREATE TRIGGER batch_redriven AFTER UPDATE OF status ON batches
    WHEN OLD.status = 'failed' AND NEW.status = 'reading' BEGIN
        UPDATE batch_files SET status = 'reading', error = NULL WHERE batch = NEW.id AND status = 'failed';
    END
    """,
    """
    CREATE TRIGGER batch_mended AFTER UPDATE OF mends ON batches WHEN NEW.files > OLD.files BEGIN
        INSERT INTO batch_files (batch, file_index, status, mends)
        SELECT NEW.id, OLD.files + key, 'reading', value FROM json_each(NEW.mends);
    END
    """,
)

LIST = "INSERT INTO batch_paths (batch, first, paths) VALUES (?, ?, ?) ON CONFLICT (batch, first) DO NOTHING"
FIND = """
    INSERT INTO batch_files (batch, file_index, status, size, version, format, compression)
    VALUES (?, ?, 'reading', ?, ?, ?, ?)
    ON CONFLICT (batch, file_index) DO UPDATE SET
        status = excluded.status, size = excluded.size, version = excluded.version, format = excluded.format,
        compression = excluded.compression, error = NULL
"""
# Each event says only what it knows; a file can fail before it was found.
READ = """
    INSERT INTO batch_files (batch, file_index, status, "rows", jobs, passed, bad, "offset", columns, error)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (batch, file_index) DO UPDATE SET
        status = excluded.status,
        "rows" = coalesce(excluded."rows", "rows"), jobs = coalesce(excluded.jobs, jobs),
        passed = coalesce(excluded.passed, passed),
        bad = max(coalesce(excluded.bad, 0), coalesce(bad, 0)),
        "offset" = coalesce(excluded."offset", "offset"), columns = coalesce(excluded.columns, columns),
        error = excluded.error
"""


def _listed(event: FilesListed, _: int) -> Row:
    return (event.originator_id, event.first, encode(event.paths))


def _found(event: FileFound, _: int) -> Row:
    return (
        event.originator_id,
        event.file_index,
        event.size,
        event.file_version,
        event.format,
        event.compression,
    )


def _advanced(event: BatchAdvanced, _: int) -> Row:
    at = event.position
    # The position is that of the block from which the next job is cut: jobs reach into it.
    reached = at.offset * (event.passed + event.rows) // at.row if at.row else None
    counts = (event.rows, event.jobs, event.passed, at.bad)
    return (event.originator_id, event.file_index, "reading", *counts, reached or None, event.columns, None)


def _quarantined(event: RowsQuarantined, _: int) -> Row:
    bad = event.bad_before + len(event.faults)
    return (event.originator_id, event.file_index, "reading", None, None, None, bad, None, None, None)


def _finished(event: FileFinished, _: int) -> Row:
    return (event.originator_id, event.file_index, "finished", *_counts(event), None, None, None)


def _failed(event: FileFailed, _: int) -> Row:
    return (event.originator_id, event.file_index, "failed", *_counts(event), None, None, event.fault.message)


def _counts(event: FileFinished | FileFailed) -> Row:
    return (event.rows, event.jobs, event.passed, event.bad)


BATCH_FILES = Projection(
    SCHEMA,
    {
        FilesListed: Fold(LIST, _listed),
        FileFound: Fold(FIND, _found),
        BatchAdvanced: Fold(READ, _advanced),
        RowsQuarantined: Fold(READ, _quarantined),
        FileFinished: Fold(READ, _finished),
        FileFailed: Fold(READ, _failed),
    },
)
