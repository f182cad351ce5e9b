"""How far a file has been read, and what its reader tells the batch of that."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

import pyarrow as pa

from actors.batch_log import TELL_SECONDS
from actors.cutter import Slice
from events.batch import AdvanceFile, FailFile, FileFault, FinishFile, Position
from events.batch_state import FileState


class Progress:
    """How far one file has been read by now, from what its batch knew on."""

    def __init__(self, batch: str, index: int, file: FileState) -> None:
        self._batch = batch
        self.index = index
        self.file = file
        self.rows, self.jobs = file.rows, file.jobs
        """As far as they are scheduled."""
        self.passed = file.passed
        self.bad = max(file.bad, file.position.bad)
        self.start = file.position
        """Where reading begins."""
        self._position = file.position
        """Where reading can go on."""
        self._told = file.jobs
        self.schema: pa.Schema | None = None
        if file.columns and self.start.row:
            self.schema = pa.ipc.read_schema(pa.py_buffer(file.columns))
        self._columns: tuple[pa.Schema | None, bytes | None] = (None, None)

    def begin_again(self) -> None:
        """Read from the start and pass over the rows that are in jobs: their places may be others by now."""
        self.start, self.schema = Position(), None

    def schedule(self, last: Slice) -> None:
        """Note that the jobs up to this one are scheduled."""
        self.rows, self.jobs = last.first_row + last.count - self.passed, last.index + 1
        # Picked rows have no places of their own in the file.
        self._position = last.position if self.file.mends is None else Position()

    async def tell(self, tell: Callable[[AdvanceFile], Awaitable[None]]) -> NoReturn:
        """Tell the batch about twice a second what is new, until this is cancelled."""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            if self.jobs > self._told:
                command = self.advance()
                await tell(command)
                self._told = command.jobs

    def advance(self) -> AdvanceFile:
        """Return what to tell of how far the file is read."""
        return AdvanceFile(
            id=self._batch,
            file_index=self.index,
            position=self._position,
            rows=self.rows,
            jobs=self.jobs,
            columns=self._known_columns(),
            passed=self.passed,
        )

    def finish(self) -> FinishFile:
        """Return what to tell at the end of the file."""
        return FinishFile(
            id=self._batch,
            file_index=self.index,
            rows=self.rows,
            jobs=self.jobs,
            bad=self.bad,
            passed=self.passed,
        )

    def fail(self, fault: FileFault) -> FailFile:
        """Return what to tell where the file cannot be read on."""
        return FailFile(
            id=self._batch,
            file_index=self.index,
            fault=fault,
            rows=self.rows,
            jobs=self.jobs,
            bad=self.bad,
            passed=self.passed,
        )

    def _known_columns(self) -> bytes | None:
        """Return the columns that are known, as an IPC message; made anew only when they have changed."""
        if self.schema is not self._columns[0]:
            body = None if self.schema is None else self.schema.remove_metadata().serialize().to_pybytes()
            self._columns = (self.schema, body)
        return self._columns[1]
