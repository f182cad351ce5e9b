"""The view of job specs: one row a spec."""

from events.catalog import encode
from events.spec import SpecChanged, SpecRegistered
from projections.sqlite import Fold, Projection, Row

SCHEMA = (
    # `definition` is MessagePack.
    """
    CREATE TABLE specs (
        name TEXT PRIMARY KEY NOT NULL,
        definition BLOB NOT NULL
    ) WITHOUT ROWID
    """,
)

DEFINE = "INSERT OR REPLACE INTO specs (name, definition) VALUES (?, ?)"


def _defined(event: SpecRegistered | SpecChanged, _: int) -> Row:
    return (event.originator_id, encode(event.definition))


SPECS = Projection(SCHEMA, {SpecRegistered: Fold(DEFINE, _defined), SpecChanged: Fold(DEFINE, _defined)})
