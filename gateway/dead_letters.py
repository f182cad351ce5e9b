"""Dead letters over HTTP: commands that were refused or failed, to look at, send again or remove."""

from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta, MsgspecError, Struct

from events.catalog import decode_commands, encode
from events.jetstream.dead_letters import DeadLetter, DeadLetters, Status
from gateway.answers import answer
from gateway.bodies import read_query
from gateway.edge import edge_of
from rota.protocol import CALLER, CAUSATION_ID, COMMAND_ID, DeadLetterList, DeadLetterView

routes = web.RouteTableDef()

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
    found = [
        _view(sequence, letter)
        async for sequence, letter in _letters(request).list(query.status, query.after, query.limit + 1)
    ]
    shown = found[: query.limit]
    return answer(DeadLetterList(shown, shown[-1].sequence if len(found) > len(shown) else None))


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
    """Return a command's fields; the body as it came, which JSON has as base64, if it cannot be read."""
    try:
        [command] = decode_commands(body)
    except (MsgspecError, ValueError):
        return body
    # Decoding without a type turns the MessagePack values inside into plain ones, too.
    return msgspec.msgpack.decode(encode(command))
