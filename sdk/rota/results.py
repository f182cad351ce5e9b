"""Results of a batch: asked for, waited for, and brought here."""

import asyncio
import logging
from hashlib import sha256
from pathlib import Path
from typing import IO

import msgspec

from rota.batch_protocol import CollectionResponse, ResultsRequest, ResultsView
from rota.errors import NotFoundError, RotaError, UnavailableError
from rota.http import FIRST_PAUSE_SECONDS, Gateway
from rota.whole_file import whole_file

MAX_PAUSE_SECONDS = 1.0
MAX_TRIES = 10
SILENCE_SECONDS = 60.0
PIECE_BYTES = 256 * 1024

log = logging.getLogger("rota.client")


async def collect(gateway: Gateway, batch_path: str, request: ResultsRequest) -> ResultsView:
    """Have results collected, and return what came of it when it is done; RotaError says why if nothing did."""
    answer = await gateway.post(f"{batch_path}/results", request)
    path = f"{batch_path}/results/{msgspec.json.decode(answer, type=CollectionResponse).id}"
    clock = asyncio.get_running_loop().time
    known_by = clock() + gateway.patience_seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            view = await gateway.get(path, ResultsView)
        except NotFoundError:
            # It was accepted, and is in the log a moment later.
            if clock() > known_by:
                raise
        else:
            if view.status == "collected":
                return view
            if view.status == "failed":
                raise RotaError(f"The results were not collected: {view.error or 'the gateway does not say why'}")
        await asyncio.sleep(pause)
        pause = min(pause * 2, MAX_PAUSE_SECONDS)


async def download(gateway: Gateway, batch_path: str, view: ResultsView, path: Path) -> None:
    """Write collected results to a file: whole or not at all. A lost connection is made again, from the beginning.

    RotaError if what comes does not have the digest of its manifest, InvalidRequestError if the file cannot be
    written.
    """
    clock = asyncio.get_running_loop().time
    pause = FIRST_PAUSE_SECONDS
    with whole_file(path) as file:
        for tries in range(1, MAX_TRIES + 1):
            heard = clock()
            try:
                async with gateway.exchange(
                    "GET", f"{batch_path}/results/{view.id}/file", silence_seconds=SILENCE_SECONDS
                ) as response:
                    digest = sha256()
                    async for piece in response.content.iter_chunked(PIECE_BYTES):
                        heard = clock()
                        digest.update(piece)
                        await asyncio.to_thread(file.write, piece)
                break
            except UnavailableError as error:
                if tries == MAX_TRIES or clock() + pause > heard + gateway.patience_seconds:
                    raise
                log.info("%s; downloading again", error)
            await asyncio.to_thread(_empty, file)
            await asyncio.sleep(pause)
            pause *= 2
        if view.manifest and digest.hexdigest() != view.manifest.sha256:
            raise RotaError(f"What came of the results {view.id} does not have their digest: {path} is as before")


def _empty(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()
