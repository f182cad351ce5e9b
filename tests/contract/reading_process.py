"""Reads files in a process of its own, which a native library may end, and measures what that costs."""

import math
import re
import resource
import time
import traceback
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa
from msgspec import Struct

from actors.cutter import Cutter, JobLimits
from actors.formats.block import BadRowError, Block
from actors.formats.input import Input
from actors.formats.registry import read
from events.batch import Position
from rota.errors import TooLargeError
from rota.options import BadRows, Compression, Options
from tests.contract.formats.case import START, Body

ROWS_PER_JOB = 700
MOST_ROWS = 20_000
"""Rows of a file that are compared; the others are counted."""
ADDRESS_BYTES = 8 << 30
"""What a process may map before its allocations fail; what it uses is measured."""
MEBIBYTE = 1 << 20


class Task(Struct):
    """A file to be read; one that begins with so many bytes of another has its first rows, too."""

    format: str
    options: Options
    body: bytes
    compression: Compression = "none"
    original: bytes | None = None
    same: int = 0
    last_may_differ: bool = False
    """Whether the last row before a cut may have lost its end without a sign."""
    many: bool = False
    """Whether the file is large, so that it is read only once."""
    collects: bool = True
    """Whether rows are looked at at all."""


class Ending(Struct):
    """How the reading of a file ended."""

    error: str = ""
    """What the file's error says, if it has one."""
    rows: int = 0
    wrong: str = ""
    """What must never be: any other exception, or rows that are lost or changed without an error."""
    cpu_seconds: float = 0
    grown_bytes: int = 0


class ReadingProcess:
    """A process that reads one file after another; a new one when it has died."""

    def __init__(self) -> None:
        self._context = get_context("spawn")
        self._start()

    def read(self, task: Task, seconds: float) -> Ending:
        """Read a file; a process that dies, or is not done after so many seconds, is what is wrong with it."""
        self._pipe.send(task)
        try:
            if self._pipe.poll(seconds):
                ending: Ending = self._pipe.recv()
                return ending
            wrong = f"it was not read within {seconds} seconds"
        except EOFError:
            self._process.join()
            wrong = f"the process has died: {self._process.exitcode}"
        self.close()
        self._start()
        return Ending(wrong=wrong)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()


def holds(found: Any, expected: Any) -> bool:
    """Say whether a value is the expected one, apart from fields that are null in one and missing in the other."""
    match expected:
        case dict() if isinstance(found, dict):
            return all(holds(found.get(name), expected.get(name)) for name in found.keys() | expected.keys())
        case list() | tuple() if isinstance(found, list | tuple):
            return len(found) == len(expected) and all(map(holds, found, expected))
        case float() if math.isnan(expected):
            return isinstance(found, float) and math.isnan(found)
        case _:
            return bool(found == expected)


def _serve(pipe: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            task: Task = pipe.recv()
        except EOFError:
            return
        pipe.send(_measured(task))


def _measured(task: Task) -> Ending:
    pa.default_memory_pool().release_unused()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, begun = _status("VmRSS"), time.process_time()
    try:
        ending = _ending(task)
    except BaseException:  # noqa: BLE001 - whatever a reader raises is the finding
        ending = Ending(wrong=traceback.format_exc())
    ending.cpu_seconds = time.process_time() - begun
    ending.grown_bytes = _status("VmHWM") - before
    return ending


def _status(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


class _Read(Struct):
    rows: list[dict[str, Any]]
    count: int
    bad: int
    error: str
    starts: list[Position]
    schema: pa.Schema | None


def _ending(task: Task) -> Ending:
    found = _read(task, task.body, "skip")
    ending = Ending(found.error, found.count)
    if not task.collects:
        return ending
    wrong = _wrong_if_stopped(task, found) or _wrong_beginning(task, found)
    if len(found.starts) > 1 and not found.error:
        wrong = wrong or _wrong_going_on(task, found)
    ending.wrong = wrong
    return ending


def _wrong_if_stopped(task: Task, found: _Read) -> str:
    """Read again, up to the first bad row."""
    if task.many:
        return ""
    stopped = _read(task, task.body, "fail")
    if not all(map(holds, found.rows, stopped.rows)) or stopped.count > found.count:
        return f"other rows are read where bad ones end the reading: {stopped.rows} for {found.rows}"
    if bool(stopped.error) != bool(found.error or found.bad):
        return f"bad_rows=fail says {stopped.error!r}, and skip {found.error!r} with {found.bad} bad rows"
    if not found.bad and stopped.count != found.count:
        return f"there are {stopped.count} rows if bad ones end the reading, {found.count} else, and none is bad"
    return ""


def _wrong_beginning(task: Task, found: _Read) -> str:
    """Compare the rows with those that the bytes which are the same give alone."""
    if task.original is None or not task.same:
        return ""
    before = _read(task, task.original[: task.same], "skip")
    rows = before.rows[:-1] if task.last_may_differ else before.rows
    for number, (one, expected) in enumerate(zip(found.rows, rows, strict=False)):
        if not holds(one, expected):
            return f"row {number} is {one}, not {expected}, though the first {task.same} bytes are the same"
    if not found.error and len(rows) > found.count + found.bad:
        return f"{found.count} rows without an error; the first {task.same} bytes alone have {len(rows)}"
    return ""


def _wrong_going_on(task: Task, found: _Read) -> str:
    """Begin in the middle."""
    start = found.starts[len(found.starts) // 2]
    rest = _read(task, task.body, "skip", start, found.schema)
    if rest.error or rest.count != found.count - start.row:
        return f"from {start} on there are {rest.count} rows and {rest.error!r}, of {found.count} in all"
    if not all(map(holds, found.rows[start.row :], rest.rows)):
        return f"from {start} on there are other rows"
    return ""


def _read(
    task: Task, body: bytes, bad_rows: BadRows, start: Position = START, schema: pa.Schema | None = None
) -> _Read:
    found = _Read([], 0, 0, "", [], schema)
    file = Input(Body(body), task.compression)

    def blocks() -> Iterator[Block]:
        try:
            for block in read(task.format, file, task.options, start, schema, bad_rows=bad_rows):
                found.starts.append(block.start)
                found.schema = block.table.schema
                found.bad += len(block.bad)
                if block.start.row != start.row + found.count:
                    raise AssertionError(f"a block says that it begins at {block.start}; {found.count} were before")
                found.count += block.table.num_rows
                yield block
        except (BadRowError, TooLargeError) as error:
            found.error = str(error) or "an error without a word"

    count = 0
    try:
        for one in Cutter(JobLimits(ROWS_PER_JOB), rows=start.row, jobs=start.row // ROWS_PER_JOB).cut(blocks()):
            for job in one.slices:
                count += job.count
                if task.collects and len(found.rows) < MOST_ROWS:
                    found.rows += _rows(job.body)
    except TooLargeError as error:  # rows that are too large for one job
        found.error = f"{file.path}: {error}"
        found.count = count
    if count != found.count:
        raise AssertionError(f"{found.count} rows were read, and {count} are in jobs")
    return found


def _rows(body: pa.Buffer) -> list[dict[str, Any]]:
    """Return the rows of a job; those that Python's types cannot hold as text."""
    table = pa.ipc.open_stream(body).read_all()
    table.validate(full=True)
    try:
        return table.to_pylist()  # type: ignore[no-any-return] # pyarrow has no types
    except (ValueError, OverflowError, pa.ArrowException):
        columns = [map(_shown, column) for column in table.columns]
        return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def _shown(value: pa.Scalar) -> object:
    try:
        return value.as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        return None
