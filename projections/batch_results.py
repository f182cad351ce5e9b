"""The view of results of batches that are collected into files: one row a collection."""

from msgspec.structs import replace

from events.batch_results import ResultsCollected, ResultsFailed, ResultsRequested
from events.catalog import encode
from projections.sqlite import Fold, Projection, Row

SCHEMA = (
    # `sequence` is that of the request. `manifest` is MessagePack, without the jobs that it names: they may be many
    # and stand in the log.
    """
    CREATE TABLE batch_results (
        batch TEXT NOT NULL,
        collection TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        status TEXT NOT NULL,
        format TEXT NOT NULL,
        connection TEXT,
        path TEXT,
        manifest BLOB,
        error TEXT,
        PRIMARY KEY (batch, collection)
    ) WITHOUT ROWID
    """,
)

REQUEST = """
    INSERT INTO batch_results (batch, collection, sequence, status, format, connection, path)
    VALUES (?, ?, ?, 'collecting', ?, ?, ?)
    ON CONFLICT (batch, collection) DO NOTHING
"""
COLLECT = "UPDATE batch_results SET status = 'collected', manifest = ? WHERE batch = ? AND collection = ?"
FAIL = "UPDATE batch_results SET status = 'failed', error = ? WHERE batch = ? AND collection = ?"


def _requested(event: ResultsRequested, sequence: int) -> Row:
    return (event.originator_id, event.collection, sequence, event.format, event.connection, event.path)


def _collected(event: ResultsCollected, _: int) -> Row:
    return (encode(replace(event.manifest, failed=[], pending=[])), event.originator_id, event.collection)


def _failed(event: ResultsFailed, _: int) -> Row:
    return (event.reason, event.originator_id, event.collection)


BATCH_RESULTS = Projection(
    SCHEMA,
    {
        ResultsRequested: Fold(REQUEST, _requested),
        ResultsCollected: Fold(COLLECT, _collected),
        ResultsFailed: Fold(FAIL, _failed),
    },
)
