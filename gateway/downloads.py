"""Files that are downloaded: whole or a range of them, read as fast as they are taken."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

from aiohttp import web
from msgspec import Struct

from rota.errors import RotaError

WRITE_BYTES = 64 * 1024
"""Written at a time, each time within the reader's patience."""

log = logging.getLogger("rota.gateway")


class Download(Struct, frozen=True):
    """A file that does not change."""

    name: str
    """For who saves it."""
    media_type: str
    size: int
    sha256: str
    read: Callable[[int, int], AsyncIterator[bytes]]
    """Gives the bytes from one place to another."""


async def answer_download(request: web.Request, file: Download, write_seconds: float) -> web.StreamResponse:
    """Answer a file, or the one range of it that is asked for; a part never passes for the whole.

    A reader that takes nothing for so many seconds is given up.
    """
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{file.name}"',
        "Content-Type": file.media_type,
        "ETag": f'"{file.sha256}"',
    }
    if any(tag.value in (file.sha256, "*") for tag in request.if_none_match or ()):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    wanted = _range(request, file)
    if wanted is None:
        headers |= {"Content-Range": f"bytes */{file.size}"}
        return web.Response(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=headers)
    start, stop = wanted
    response = web.StreamResponse(headers=headers)
    response.content_length = stop - start
    if (start, stop) != (0, file.size):
        response.set_status(HTTPStatus.PARTIAL_CONTENT)
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
    await response.prepare(request)
    if request.method == "HEAD" or await _write(request, response, file.read(start, stop), write_seconds):
        await response.write_eof()
    return response


async def _write(
    request: web.Request, response: web.StreamResponse, pieces: AsyncIterator[bytes], write_seconds: float
) -> bool:
    """Write the body; False if it broke off, and the connection with it, so that the reader sees it."""
    try:
        async for piece in pieces:
            for start in range(0, len(piece), WRITE_BYTES):
                async with asyncio.timeout(write_seconds):
                    await response.write(piece[start : start + WRITE_BYTES])
    except (RotaError, ConnectionError, TimeoutError) as error:
        log.warning("%s %s broke off: %s", request.method, request.path, error or "the reader takes nothing")
        if request.transport:
            request.transport.abort()
        return False
    return True


def _range(request: web.Request, file: Download) -> tuple[int, int] | None:
    """Return from where to where the file is wanted; None if there is nothing of it there."""
    whole = (0, file.size)
    if "Range" not in request.headers or request.headers.get("If-Range", f'"{file.sha256}"') != f'"{file.sha256}"':
        return whole
    try:
        asked = request.http_range
    except ValueError:
        return whole  # what is not understood, as several ranges, may be left out of account
    start, stop, _ = slice(asked.start, asked.stop).indices(file.size)
    return (start, stop) if start < stop else None
