"""The view of results of batches that are collected into files: one row a collection."""

from events.batch_results import ResultsCollected, ResultsFailed, ResultsRequested
from events.catalog import encode
from projections.sqlite import Fold, Projection, Row

SCHEMA = (
    # `manifest` is MessagePack.
    """
    CREATE TABLE batch_results (
        batch TEXT NOT NULL,
        collection TEXT NOT NULL,
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
    INSERT INTO batch_results (batch, collection, status, format, connection, path)
    VALUES (?, ?, 'collecting', ?, ?, ?)
    ON CONFLICT (batch, collection) DO NOTHING
"""
COLLECT = "UPDATE batch_results SET status = 'collected', manifest = ? WHERE batch = ? AND collection = ?"
FAIL = "UPDATE batch_results SET status = 'failed', error = ? WHERE batch = ? AND collection = ?"


def _requested(event: ResultsRequested, _: int) -> Row:
    return (event.originator_id, event.collection, event.format, event.connection, event.path)


def _collected(event: ResultsCollected, _: int) -> Row:
    return (encode(event.manifest), event.originator_id, event.collection)


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
