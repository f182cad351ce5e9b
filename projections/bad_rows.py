"""The view of quarantined rows: where in the log they stand, so that they can be read in order."""

from events.batch import RowsQuarantined
from projections.sqlite import Fold, Projection, Row

SCHEMA = (
    """
    CREATE TABLE batch_bad_rows (
        batch TEXT NOT NULL,
        file_index INTEGER NOT NULL,
        first INTEGER NOT NULL,
        count INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        PRIMARY KEY (batch, file_index, first)
    ) WITHOUT ROWID
    """,
)

QUARANTINE = """
    INSERT INTO batch_bad_rows (batch, file_index, first, count, sequence) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (batch, file_index, first) DO NOTHING
"""


def _quarantined(event: RowsQuarantined, sequence: int) -> Row:
    return (event.originator_id, event.file_index, event.bad_before, len(event.faults), sequence)


BAD_ROWS = Projection(SCHEMA, {RowsQuarantined: Fold(QUARANTINE, _quarantined)})
