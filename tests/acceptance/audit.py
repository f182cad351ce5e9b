"""What must hold of the log and the views whatever was killed."""

import sqlite3
from contextlib import closing
from pathlib import Path

from events.catalog import KINDS, decode_event
from events.jetstream.log import Log, Recorded
from projections.sqlite import connect_read_only, transaction
from projections.tables import apply, create
from rota.jetstream import Connection
from rota.pull import delivery
from tests.acceptance.system import until

TABLES = {
    "batches": "SELECT * FROM batches ORDER BY id",
    "batch_files": "SELECT * FROM batch_files ORDER BY batch, file_index",
    "batch_jobs": "SELECT * FROM batch_jobs WHERE count > 0 ORDER BY batch, status",
    "jobs": "SELECT * FROM jobs ORDER BY sequence",
    "specs": "SELECT * FROM specs ORDER BY name",
}


async def assert_log_and_views_agree(nats_url: str, views: Path) -> None:
    """Check that each history in the log is whole, and that the views are what the log folds to."""
    async with await Connection.open(nats_url, name="audit") as connection:
        recorded = await _whole(Log(connection))
    versions: dict[tuple[str, str], int] = {}
    for one in recorded:
        identity = (KINDS[type(one.event)], one.event.originator_id)
        version = versions.get(identity, 0) + 1
        assert one.event.originator_version == version, f"{identity} has a gap or a fork before {one}"
        versions[identity] = version
    last = recorded[-1].sequence
    with closing(connect_read_only(views)) as stored:

        async def position() -> int:
            return _position(stored)

        await until(position, lambda position: position >= last)
        with transaction(stored, "DEFERRED"):
            assert _position(stored) == last, "something still goes on"
            seen = _dump(stored)
    with closing(create()) as fresh:
        apply(fresh, recorded)
        expected = _dump(fresh)
    for table in TABLES:
        assert seen[table] == expected[table], table


async def _whole(log: Log) -> list[Recorded]:
    """Return all events of the log up to its end as it is now."""
    end = await log.last_sequence()
    recorded: list[Recorded] = []
    async with log.follow() as follower:
        while follower.position < end:
            messages = await follower.take(timeout=10)
            recorded += [Recorded(delivery(message).sequence, decode_event(message.data)) for message in messages]
    return recorded


def _position(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT position FROM log").fetchone()[0])


def _dump(connection: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    return {table: connection.execute(query).fetchall() for table, query in TABLES.items()}
