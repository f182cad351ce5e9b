"""The data of a batch over HTTP: send it in requests of any length, ask how much is durable, say that it is all.

The headers are those of the IETF's resumable uploads. Offsets count bytes without the `Content-Encoding`.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from events.jetstream.chunks import PIECE_BYTES
from gateway.answers import answer
from gateway.callers import http_asker
from gateway.edge import Edge, edge_of
from gateway.lookup import ID
from gateway.problems import document
from gateway.stream_operations import Writer, data, find_stream, seal, writing
from rota.batch_protocol import DataView
from rota.errors import InvalidRequestError, RotaError, UnavailableError

OFFSET = "Upload-Offset"
COMPLETE = "Upload-Complete"
LENGTH = "Upload-Length"
"""Of the whole stream: with it a body that was cut within its encoding, which HTTP does not show, seals nothing."""
ENCODINGS = ("gzip", "deflate", "zstd", "br")
"""What aiohttp decodes, in steps of a bounded size, before a handler sees the bytes."""
FLUSH_SECONDS = 0.05
"""What came is stored, however little, when so long nothing follows."""
IDLE_SECONDS = 60.0
"""A sender that is silent for so long may be gone, and keeps others from sending."""
READ_BYTES = 256 * 1024
"""What the server reads ahead of a handler."""

routes = web.RouteTableDef()


class UnsupportedEncodingError(InvalidRequestError):
    """The body is encoded in a way that is not known."""

    status = 415
    slug = "unsupported-encoding"
    title = "The encoding of the body is not known"


@routes.patch(f"/batches/{ID}/data")
async def patch_data(request: web.Request) -> web.Response:
    """Append the body to the stream of a batch; it is stored as it comes, and what is stored counts once."""
    edge, id_ = edge_of(request), request.match_info["id"]
    found = await find_stream(edge, id_)
    try:
        offset, complete = _number(request, OFFSET), _complete(request)
        length = _number(request, LENGTH) if LENGTH in request.headers else None
        _check_encoding(request)
        if complete and length is None and request.headers.get("Content-Encoding", "identity") != "identity":
            # HTTP does not show that a body was cut within its encoding.
            raise InvalidRequestError(
                f"A body that is compressed and the last one needs the header {LENGTH}: how many bytes the whole "
                "stream has without the compression. Or seal the stream with POST when all is sent"
            )
        async with writing(edge, id_, found, offset, waits=True) as writer:
            await _store(writer, edge, request)
            view = await writer.finish(http_asker(request), complete=complete, length=length)
    except RotaError as error:
        return await _refusal(request, error)
    return web.Response(status=204, headers=_headers(view))


@routes.head(f"/batches/{ID}/data")
@routes.get(f"/batches/{ID}/data", allow_head=False)
async def get_data(request: web.Request) -> web.Response:
    """Answer how much of the stream is durable: from there on its sender goes on."""
    view = await data(edge_of(request), request.match_info["id"])
    return answer(view, headers=_headers(view) | {"Cache-Control": "no-store"})


@routes.post(f"/batches/{ID}/seal")
async def post_seal(request: web.Request) -> web.Response:
    """Say that the stream ends with what is durable."""
    try:
        view = await seal(edge_of(request), request.match_info["id"], http_asker(request))
    except RotaError as error:
        return await _refusal(request, error)
    return answer(view, headers=_headers(view))


async def _store(writer: Writer, edge: Edge, request: web.Request) -> None:
    """Store the body; the next piece of it is read meanwhile."""
    # Room for one piece: the body is read no faster than it is stored.
    pieces: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue(1)

    async def read() -> None:
        try:
            async for piece in _pieces(request, edge):
                await pieces.put(piece)
        except Exception as error:  # noqa: BLE001 - it is raised where the pieces are taken
            await pieces.put(error)
        else:
            await pieces.put(None)

    reading = asyncio.create_task(read(), name="read a body")
    try:
        while (piece := await pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            await writer.write(piece)
            if edge.stopping:
                raise UnavailableError("The gateway stops; send the rest with another request")
    finally:
        reading.cancel()
        await asyncio.wait([reading])


async def _pieces(request: web.Request, edge: Edge) -> AsyncIterator[bytes]:
    """Yield the body in pieces as large as are stored, smaller ones where it does not come as fast, or ends."""
    content = request.content
    content.set_read_chunk_size(READ_BYTES)
    clock = asyncio.get_running_loop().time
    parts: list[bytes] = []
    size = 0
    flush_at = 0.0
    while True:
        chunk: bytes | None = None
        failure: InvalidRequestError | None = None
        # From the first byte of a piece on: one who sends a little all the time is not to wait for a whole piece.
        async with edge.patience(max(0.0, flush_at - clock()) if size else IDLE_SECONDS):
            try:
                chunk = await content.readany()
            except (web.RequestPayloadError, HttpProcessingError, ConnectionError) as error:
                failure = InvalidRequestError(f"The body did not arrive whole: {_reason(error)}")
        if size and (not chunk or size + len(chunk) > PIECE_BYTES):
            yield b"".join(parts)
            parts, size = [], 0
        elif chunk is None and failure is None:
            why = "The gateway stops" if edge.stopping else f"The body did not go on for {IDLE_SECONDS:.0f} s"
            raise UnavailableError(f"{why}; send the rest with another request")
        if failure:
            raise failure
        if chunk:
            for start in range(0, len(chunk) - PIECE_BYTES, PIECE_BYTES):
                yield chunk[start : start + PIECE_BYTES]
            if not size:
                flush_at = clock() + FLUSH_SECONDS
            parts.append(chunk[(len(chunk) - 1) // PIECE_BYTES * PIECE_BYTES :])
            size += len(parts[-1])
        elif chunk is not None:
            return


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error
    return "it is not in its Content-Encoding" if "content-encoding" in str(cause).lower() else "it broke off"


def _number(request: web.Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not re.fullmatch(r"[0-9]{1,15}", text):
        given = f"is {text[:40]!r}" if text else "is missing"
        what = "offset of the body's first byte" if name == OFFSET else "number of bytes of the whole stream"
        raise InvalidRequestError(f"The header {name} {given}; it takes the {what}")
    return int(text)


def _complete(request: web.Request) -> bool:
    text = request.headers.get(COMPLETE, "?0")
    if text not in {"?0", "?1"}:
        raise InvalidRequestError(f"The header {COMPLETE} is {text[:40]!r}; it may be ?0 or ?1")
    return text == "?1"


def _check_encoding(request: web.Request) -> None:
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"identity", *ENCODINGS}:
        raise UnsupportedEncodingError(
            f"The header Content-Encoding is {encoding[:40]!r}; it may be {', '.join(ENCODINGS)}. If the stream "
            "itself is compressed, open the batch with `compression` instead"
        )


def _headers(view: DataView) -> dict[str, str]:
    return {OFFSET: str(view.offset), COMPLETE: "?1" if view.complete else "?0"}


async def _refusal(request: web.Request, error: RotaError) -> web.Response:
    """Return an error's answer that says how much is durable."""
    if error.status == RotaError.status:
        raise error
    headers = {}
    with suppress(RotaError):
        headers = _headers(await data(edge_of(request), request.match_info["id"]))
    if error.status == UnavailableError.status:
        headers["Retry-After"] = "1"
    if error.status == UnsupportedEncodingError.status:
        headers["Accept-Encoding"] = ", ".join(ENCODINGS)
    response = web.Response(
        body=msgspec.json.encode(document(error), enc_hook=str),
        status=error.status,
        headers=headers,
        content_type="application/problem+json",
    )
    if not request.content.is_eof():
        response.force_close()  # the rest of the body is not worth reading
    return response
