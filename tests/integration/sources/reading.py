"""Reading of files from sources, and what errors may never show."""

import asyncio
import traceback
from contextlib import closing

import pytest

from actors.sources.file import SourceFile
from events.sources import Connection
from rota.errors import RotaError

HUSH = "hush"
"""Is in every secret of the tests."""


def content(connection: Connection | None, path: str, offset: int = 0) -> bytes:
    """Return a file's bytes from an offset on."""
    with closing(SourceFile(connection, path)) as file:
        return b"".join(file.chunks(offset))


async def failure(connection: Connection | None, path: str) -> RotaError:
    """Return the error of reading a file; it never shows a secret, and neither do those that led to it."""
    with pytest.raises(RotaError) as caught:
        await asyncio.to_thread(content, connection, path)
    assert HUSH not in "".join(traceback.format_exception(caught.value))
    return caught.value
