"""Dead letters over HTTP: commands that were refused or failed, to look at, send again or remove."""

from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from events.catalog import decode_commands, encode
from events.jetstream.dead_letters import DeadLetter, DeadLetters, Status
from events.jetstream.requests import UNREADABLE
from gateway.answers import answer
from gateway.bodies import read_query
from gateway.edge import edge_of
from gateway.encodings import JSON
from rota.errors import RotaError
from rota.protocol import CALLER, CAUSATION_ID, COMMAND_ID, DeadLetterList, DeadLetterView

routes = web.RouteTableDef()

PAGE_BYTES = 8 * 1024 * 1024
"""A page ends with the letter that makes it larger."""

SEQUENCE = r"{sequence:\d{1,18}}"


class LettersQuery(Struct, frozen=True):
    """Which letters; `after` is the `next` of the page before."""

    status: Status | None = None
    after: Annotated[int, Meta(ge=0)] = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


@routes.get("/dead-letters")
async def list_letters(request: web.Request) -> web.Response:
    """Answer a page of letters, oldest first."""
    query = read_query(request, LettersQuery)
    shown: list[DeadLetterView] = []
    size = 0
    async for sequence, letter in _letters(request).list(query.status, query.after, query.limit + 1):
        if shown and (len(shown) == query.limit or size > PAGE_BYTES):
            return answer(DeadLetterList(shown, shown[-1].sequence))
        shown.append(_view(sequence, letter))
        size += len(letter.body)
    return answer(DeadLetterList(shown))


@routes.get(f"/dead-letters/{SEQUENCE}")
async def get_letter(request: web.Request) -> web.Response:
    """Answer a letter."""
    sequence = int(request.match_info["sequence"])
    return answer(_view(sequence, await _letters(request).get(sequence)))


@routes.post(f"/dead-letters/{SEQUENCE}/send-again")
async def send_again(request: web.Request) -> web.Response:
    """Put a letter's command back into the stream of commands, and remove the letter."""
    sequence = int(request.match_info["sequence"])
    await _letters(request).send_again(sequence)
    return answer({"sequence": sequence}, 202)


@routes.delete(f"/dead-letters/{SEQUENCE}")
async def remove(request: web.Request) -> web.Response:
    """Remove a letter."""
    sequence = int(request.match_info["sequence"])
    await _letters(request).remove(sequence)
    return answer({"sequence": sequence})


def _letters(request: web.Request) -> DeadLetters:
    return DeadLetters(edge_of(request).connection)


def _view(sequence: int, letter: DeadLetter) -> DeadLetterView:
    return DeadLetterView(
        sequence=sequence,
        status=letter.status,
        reason=letter.reason,
        at=letter.at,
        type=letter.type,
        id=letter.id,
        tries=letter.tries,
        caller=letter.headers.get(CALLER, ""),
        causation_id=letter.headers.get(CAUSATION_ID, ""),
        command_id=letter.headers.get(COMMAND_ID, ""),
        subject=letter.subject,
        command=_command(letter.body),
        traceback=letter.traceback,
    )


def _command(body: bytes) -> Any:
    """Return a command's fields as JSON; the body as it came, which JSON has as base64, if they cannot be read."""
    try:
        [command] = decode_commands(body)
        # Decoding without a type turns the MessagePack values inside into plain ones, too.
        return msgspec.Raw(JSON.encode(msgspec.msgpack.decode(encode(command))))
    except (*UNREADABLE, ValueError, RotaError):
        return body
