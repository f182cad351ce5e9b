"""How long a caller waits for an end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


@asynccontextmanager
async def limit(seconds: float | None, what: str) -> AsyncGenerator[None, None]:
    """Wait no longer than so many seconds; TimeoutError says what has not ended by then."""
    time = asyncio.timeout(seconds)
    try:
        async with time:
            yield
    except TimeoutError:
        if not time.expired():  # it is of what was waited for
            raise
        raise TimeoutError(f"{what} has not ended after {seconds:g} seconds") from None
