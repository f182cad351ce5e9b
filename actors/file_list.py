"""Finds the files of a batch in its directories and by its globs, and tells the batch of them."""

import asyncio
import logging
from collections.abc import Callable

from actors.batch_log import BatchLog
from actors.opening import configured
from actors.sources.errors import SourceError
from actors.sources.registry import file_system, full_path
from actors.sources.walk import walk
from events.batch import BatchDetails, FailBatch, ListFiles
from events.batch_state import BatchState, FileState
from events.sources import Connection
from rota.errors import NotFoundError, TooLargeError

PATHS_A_MESSAGE = 200
"""Paths may be of 4,096 characters."""

log = logging.getLogger("rota.reader")


async def list_files(
    batch: BatchLog, state: BatchState, sources: Callable[[], dict[str, Connection]]
) -> list[FileState] | None:
    """Return the files that the batch does not know yet, in their order; None if that fails, which fails the batch.

    They come after those that it knows.
    """
    details = state.details
    known = {file.path for file in state.files}
    try:
        paths = await asyncio.to_thread(_search, sources, details)
    except (SourceError, NotFoundError, TooLargeError) as error:
        await _fail(batch, str(error))
        return None
    except Exception as error:
        log.exception("batch %s: its files cannot be found", batch.batch)
        await _fail(batch, f"The files cannot be found: {type(error).__name__}")
        return None
    if not paths and not details.selection.allow_empty:
        entries = ", ".join(details.files)
        await _fail(batch, f"There is no file at {entries}; allow_empty would make it a batch without rows")
        return None
    new = [path for path in paths if path not in known]
    for start in range(0, max(1, len(new)), PATHS_A_MESSAGE):
        some = tuple(new[start : start + PATHS_A_MESSAGE])
        last = start + PATHS_A_MESSAGE >= len(new)
        await batch.send([ListFiles(id=batch.batch, first=len(known) + start, paths=some, last=last)])
    return [FileState(path) for path in new]


async def _fail(batch: BatchLog, reason: str) -> None:
    await batch.send([FailBatch(id=batch.batch, reason=reason)])


def _search(sources: Callable[[], dict[str, Connection]], details: BatchDetails) -> list[str]:
    source = configured(sources(), details.connection)
    return list(walk(file_system(source), full_path(source, ""), details.files, details.selection))
