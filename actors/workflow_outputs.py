"""What jobs and batches of workflows have returned: kept for those that come next, else read from the log."""

from collections import OrderedDict
from datetime import datetime
from typing import Any

from events.batch_results import ResultsCollected
from events.batch_state import BatchState
from events.catalog import encode
from events.jetstream.collections import find_collection
from events.jetstream.log import Log
from events.jetstream.payloads import Payloads
from events.jetstream.repository import load_state
from events.jetstream.snapshots import Snapshots
from events.job import JobSucceeded
from events.workflow_ids import COLLECTION
from rota.errors import NotFoundError
from rota.jetstream import Connection
from rota.protocol import Result

MAX_BYTES = 32 * 1024 * 1024
ENTRY_BYTES = 300
"""About what keeping an output takes beside its own bytes."""
MAX_LISTS = 4

ListKey = tuple[str, int, datetime | None]


class Lists:
    """The lists of the fan-outs that were at work last, decoded: each of their runs needs an item of it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[ListKey, list[Any]] = OrderedDict()

    def get(self, key: ListKey) -> list[Any] | None:
        """Return the list of a fan-out, named by workflow, number, and when it was released."""
        if (found := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: ListKey, items: list[Any]) -> None:
        """Keep a list, in place of one that was used longest ago."""
        self._kept[key] = items
        if len(self._kept) > MAX_LISTS:
            self._kept.popitem(last=False)


class Outputs:
    """Outputs by the ids of jobs and batches, as MessagePack; the newest MAX_BYTES of those of jobs are kept."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._log = Log(connection)
        self._payloads = Payloads(connection)
        self._new: dict[str, Result] = {}
        """Of jobs, by events that are not stored yet."""
        self._new_batches: dict[str, bytes] = {}
        """Likewise of batches. They are not kept: a batch may run again elsewhere."""
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self.lists = Lists()

    def begin(self) -> None:
        """Forget what was noted and not stored."""
        self._new.clear()
        self._new_batches.clear()

    def note(self, event: JobSucceeded) -> None:
        """Take the output of a job that is ending."""
        self._new[event.originator_id] = event.result

    def note_batch(self, id_: str, state: BatchState, results: ResultsCollected | None) -> None:
        """Take the output of a batch that is ending, or whose results were collected just now."""
        self._new_batches[id_] = encode(batch_output(id_, state, results))

    def stored(self) -> None:
        """Keep what was noted."""
        for id_, result in self._new.items():
            if result.payload is None:
                self._keep(id_, bytes(result.value))
        self.begin()

    async def of_job(self, id_: str, room: int) -> bytes:
        """Return the output of a job that has succeeded.

        NotFoundError if it was removed; ValueError if it has more bytes than there is room for.
        """
        if result := self._new.get(id_):
            return await self._body(result, room)
        if (kept := self._kept.get(id_)) is not None:
            self._kept.move_to_end(id_)
            return kept
        last = await self._log.last("job", id_)
        if last is None or not isinstance(last.event, JobSucceeded):
            raise NotFoundError(f"The job {id_} has no result any more")
        return self._keep(id_, await self._body(last.event.result, room))

    async def of_batch(self, id_: str) -> bytes:
        """Return the output of a batch that has completed; NotFoundError if it was removed."""
        if new := self._new_batches.get(id_):
            return new
        state: BatchState | None
        state, _ = await load_state(self._log, Snapshots(self._connection), "batch", id_)
        if state is None:
            raise NotFoundError(f"The batch {id_} was removed")
        asked = next((one for one in reversed(state.collections) if one.startswith(COLLECTION)), None)
        found = await find_collection(self._connection, id_, asked) if asked else None
        results = found.ended if found and isinstance(found.ended, ResultsCollected) else None
        return encode(batch_output(id_, state, results))

    async def _body(self, result: Result, room: int) -> bytes:
        size = result.payload.size if result.payload else len(result.value)
        if size > room:
            raise ValueError(f"With its {size} bytes the outputs that are used at once are too large")
        return await self._payloads.get(result.payload) if result.payload else bytes(result.value)

    def _keep(self, id_: str, body: bytes) -> bytes:
        if (old := self._kept.pop(id_, None)) is not None:
            self._bytes -= len(old) + ENTRY_BYTES
        self._kept[id_] = body
        self._bytes += len(body) + ENTRY_BYTES
        while self._bytes > MAX_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest) + ENTRY_BYTES
        return body


def batch_output(id_: str, state: BatchState, results: ResultsCollected | None) -> dict[str, Any]:
    """Return the output of a batch: its id, its counts, and where its results are if its workflow wanted them."""
    wanted = state.details.results
    return {
        "batch": id_,
        "status": state.status,
        "files": len(state.files),
        "rows": state.rows,
        "bad_rows": sum(file.left_out for file in state.files),
        "jobs": {"succeeded": state.succeeded, "failed": state.failed, "total": state.jobs},
        "results": {
            "collection": results.collection,
            "format": wanted.format,
            "connection": wanted.connection,
            "path": wanted.path,
            "rows": results.manifest.rows,
            "size": results.manifest.size,
            "sha256": results.manifest.sha256,
        }
        if wanted and results
        else None,
    }
