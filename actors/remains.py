"""What a batch has stored besides its events: the rows of its jobs, and the bytes that were streamed in.

Rows stay as long as their job may run again: those of ROWS_BLOCK neighbouring jobs are removed when the last of
them has succeeded, the others at the end of a batch that cannot be redriven. What is left goes by its age.
"""

from collections import Counter
from contextlib import suppress

from actors.flight import Place
from events.batch_state import BatchState
from events.jetstream.chunks import remove as remove_chunks
from events.jetstream.payloads import Payloads
from events.subjects import ROWS_BLOCK, rows_block_filter, rows_filter
from rota.errors import UnavailableError
from rota.jetstream import Connection, until_available

STREAM_ENDS = ("completed", "completed_with_failures", "cancelled")
"""After these nothing of a stream is read again, but for quarantined rows."""


class Remains:
    """Removes what nobody needs any more; to remove it twice does no harm."""

    def __init__(self, connection: Connection, batch: str) -> None:
        self._connection = connection
        self._payloads = Payloads(connection)
        self._batch = batch
        self._succeeded: Counter[Place] = Counter()
        """Jobs that have succeeded by their blocks, without the blocks that are removed."""

    async def succeeded(self, file_index: int, index: int) -> None:
        """Note that a job needs its rows no more."""
        block = (file_index, index // ROWS_BLOCK)
        self._succeeded[block] += 1
        if self._succeeded[block] == ROWS_BLOCK:
            del self._succeeded[block]
            with suppress(UnavailableError):
                # What is left because of this goes at the end of the batch.
                await self._payloads.remove(rows_block_filter(self._batch, *block))

    async def ended(self, state: BatchState) -> None:
        """Remove what a batch that has ended in this state needs no more: a failed one may be read on."""
        if state.status in ("completed", "cancelled"):
            await until_available(lambda: self._payloads.remove(rows_filter(self._batch)))
        # One that is read on by now, after a redrive, has another status.
        quarantined = state.details.keeps_stream and state.status == "completed_with_failures"
        if state.details.stream and state.status in STREAM_ENDS and not quarantined:
            await until_available(lambda: remove_chunks(self._connection, self._batch))
