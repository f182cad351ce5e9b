"""Sends a file to a batch and seals it: `python -m tests.acceptance.stream_client URL BATCH FILE SEED`.

It knows nothing of what it has sent before: when it was killed, it goes on where the batch says. It is gone as soon
as the batch is sealed, or cannot take any more.
"""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

PIECE_BYTES = 250
PAUSE_SECONDS = 0.02
AGAIN_SECONDS = 0.2
NO_CONTENT, CONFLICT = 204, 409


async def send(url: str, batch: str, body: bytes, chance: random.Random) -> None:
    """Send the file by requests of random lengths until it is sealed."""
    path = f"/batches/{batch}/data"
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(url, timeout=timeout) as session:
        while True:
            try:
                async with session.head(path) as told:
                    if told.headers.get("Upload-Complete") == "?1":
                        return
                    offset = int(told.headers["Upload-Offset"])
                # Now and then it sends again what was stored by then.
                offset = max(0, offset - chance.choice([0, 0, 0, 3_000]))
                end = min(len(body), offset + chance.randrange(1, 20_000))
                headers = {"Upload-Offset": str(offset)}
                if end == len(body):
                    headers["Upload-Complete"] = "?1"
                async with session.patch(path, data=pieces(body[offset:end]), headers=headers) as answer:
                    await answer.read()
            except (aiohttp.ClientError, TimeoutError, KeyError):
                # The gateway was killed, or knows nothing yet.
                await asyncio.sleep(AGAIN_SECONDS)


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    """Yield a body bit by bit."""
    for start in range(0, len(body), PIECE_BYTES):
        yield body[start : start + PIECE_BYTES]
        await asyncio.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    address, id_, file, seed = sys.argv[1:]
    asyncio.run(send(address, id_, Path(file).read_bytes(), random.Random(seed)))
