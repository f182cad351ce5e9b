"""Quarantined rows of batches, read from the log in the order of their files and places."""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from functools import partial
from typing import Literal

from aiohttp import web
from msgspec import Struct

from events.batch import FileFault, RowsQuarantined
from events.catalog import decode_event
from events.jetstream.direct import get_at
from events.jetstream.topology import EVENTS
from gateway.answers import answer
from gateway.bodies import read_query
from gateway.edge import Edge, edge_of
from gateway.encodings import JSON
from gateway.lookup import ID, ask_batch
from gateway.messages import PageLimit
from projections.batch_queries import BadRows
from projections.views import Views
from rota.batch_protocol import BadRowList, BadRowView
from rota.errors import InvalidRequestError, RotaError

routes = web.RouteTableDef()

FIRST = (0, -1)
"""Before all rows: the number of a file, and of a bad row in it."""
EVENTS_AT_A_TIME = 100
WRITE_BYTES = 64 * 1024


log = logging.getLogger("rota.gateway")

_CURSOR = re.compile(r"(\d{1,9})\.(\d{1,15})", re.ASCII)


class BadRowsQuery(Struct, frozen=True):
    """Which rows; `after` is the `next` of the page before, and `ndjson` stands for all that follow it."""

    file: str | None = None
    limit: PageLimit = 100
    after: str | None = None
    format: Literal["json", "ndjson"] = "json"


@routes.get(f"/batches/{ID}/bad-rows")
async def get_bad_rows(request: web.Request) -> web.StreamResponse:
    """Answer a page of a batch's quarantined rows, or all of them as a download, one a line."""
    query = read_query(request, BadRowsQuery)
    edge, id_ = edge_of(request), request.match_info["id"]
    if query.format == "json":
        return answer(await list_bad_rows(edge, id_, file=query.file, limit=query.limit, after=query.after))
    pieces = _lines(bad_rows(edge, id_, query.file, _place(query.after)))
    # What is wrong with the request is answered before the download begins.
    first = await anext(pieces, b"")
    headers = {
        "Content-Type": "application/x-ndjson",
        "Content-Disposition": f'attachment; filename="{id_}-bad-rows.ndjson"',
    }
    response = web.StreamResponse(headers=headers)
    with suppress(ConnectionError):
        await response.prepare(request)
        if request.method != "HEAD":
            await _write(request, response, first, pieces)
    return response


async def list_bad_rows(edge: Edge, id_: str, *, file: str | None, limit: int, after: str | None) -> BadRowList:
    """Return a page of quarantined rows.

    NotFoundError if there is no such batch, or no such file in it; UnavailableError if the views are not so far.
    """
    shown: list[BadRowView] = []
    async with aclosing(bad_rows(edge, id_, file, _place(after))) as rows:
        async for row in rows:
            if len(shown) == limit:
                return BadRowList(shown, f"{shown[-1].file_index}.{shown[-1].number}")
            shown.append(row)
    return BadRowList(shown)


async def bad_rows(
    edge: Edge, id_: str, file: str | None, after: tuple[int, int] = FIRST
) -> AsyncGenerator[BadRowView, None]:
    """Yield the quarantined rows behind a place, of all files or of those with a path. Errors as above."""
    while True:
        query = partial(Views.bad_rows, batch=id_, file=file, after=after, limit=EVENTS_AT_A_TIME)
        groups = await ask_batch(edge, id_, query)
        if not groups:
            return
        for group in groups:
            message = await get_at(edge.connection, EVENTS, group.sequence)
            event = decode_event(message.data) if message else None
            if isinstance(event, RowsQuarantined):
                for number, fault in enumerate(event.faults, group.first):
                    if (group.file_index, number) > after:
                        yield _view(group, number, fault)
            after = (group.file_index, group.first + group.count - 1)


async def _lines(rows: AsyncIterator[BadRowView]) -> AsyncIterator[bytes]:
    """Yield rows as lines, many at a time."""
    lines = bytearray()
    async for row in rows:
        lines += JSON.encode(row) + b"\n"
        if len(lines) >= WRITE_BYTES:
            yield bytes(lines)
            lines.clear()
    yield bytes(lines)


async def _write(
    request: web.Request, response: web.StreamResponse, first: bytes, rest: AsyncIterator[bytes]
) -> None:
    """Write a download no faster than its reader reads; if that fails, it breaks off."""
    patience = edge_of(request).pace.write_seconds
    piece: bytes | None = first
    try:
        while piece is not None:
            async with asyncio.timeout(patience):
                await response.write(piece)
            piece = await anext(rest, None)
    except (RotaError, ConnectionError, TimeoutError) as error:
        # What has come must not look as if it were whole.
        log.warning("a download of bad rows broke off: %s", error or "its reader takes nothing")
        if request.transport:
            request.transport.abort()


def _view(group: BadRows, number: int, fault: FileFault) -> BadRowView:
    return BadRowView(
        file=group.path,
        file_index=group.file_index,
        number=number,
        row=fault.row,
        line=fault.line,
        column=fault.column,
        text=fault.text,
        message=fault.message,
    )


def _place(cursor: str | None) -> tuple[int, int]:
    """Return behind which row a page begins; InvalidRequestError if the cursor is none."""
    if cursor is None:
        return FIRST
    found = _CURSOR.fullmatch(cursor)
    if not found:
        raise InvalidRequestError("`after` is no cursor: take it from `next` of the page before")
    return int(found[1]), int(found[2])
