"""How long a caller waits for an end, and for a view that shows it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeVar

import msgspec

from rota.batch_protocol import BatchView
from rota.http import Event
from rota.workflow_protocol import WorkflowView

VIEW_LAG_SECONDS = 0.05

View = TypeVar("View", BatchView, WorkflowView)


@asynccontextmanager
async def limit(seconds: float | None, what: str) -> AsyncIterator[None]:
    """Wait no longer than so many seconds; TimeoutError says what has not ended by then."""
    time = asyncio.timeout(seconds)
    try:
        async with time:
            yield
    except TimeoutError:
        if not time.expired():  # it is of what was waited for
            raise
        raise TimeoutError(f"{what} has not ended after {seconds:g} seconds") from None


async def ended(
    events: AsyncIterator[Event],
    ends: AbstractSet[str],
    get: Callable[[], Awaitable[View]],
    statuses: AbstractSet[str],
) -> View:
    """Return the view that shows the end its events tell of: a type of `ends`, and one of these statuses."""
    at: datetime | None = None
    async for event in events:
        if event["type"] in ends:
            at = msgspec.convert(event["at"], datetime)
    # A view follows its events; no event tells of it. It may show the end before a redrive or a retry.
    while not _shows(view := await get(), at, statuses):
        await asyncio.sleep(VIEW_LAG_SECONDS)
    return view


def _shows(view: BatchView | WorkflowView, at: datetime | None, statuses: AbstractSet[str]) -> bool:
    """Say whether a view shows the end that happened then, or a later one."""
    return view.status in statuses and (at is None or (view.ended_at is not None and view.ended_at >= at))
