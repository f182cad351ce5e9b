"""How long a caller waits for an end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


@asynccontextmanager
async def limit(seconds: float | None, what: str) -> AsyncGenerator[None, None]:
    """Wait no longer than so many seconds; TimeoutError says what has not ended by then."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TimeoutError(f"{what} has not ended after {seconds:g} seconds") from None
