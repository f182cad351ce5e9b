"""What is shown while a file or a pipe is sent: how far it is, and what it waits for."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from rota import show_batch
from rota.errors import RotaError, UnavailableError
from rota.output import Line, remark
from rota.protocol import BatchStatus
from rota.sender import Sent

SHOW_SECONDS = 0.2
RATE_SECONDS = 5.0
STILL_SECONDS = 1.0
REMARK_SECONDS = 5.0
"""Where there is no terminal it is said once what holds the sending back, after so long."""
ANSWER_SECONDS = 2.0
DATA = "waits for data"
JOBS = "held back: the jobs are slower"
PAUSED = "held back: the batch is paused"
SILENCE = "no answer from the gateway, trying again"


class SendingBar:
    """Shows how far the sending is, and why it stands still. `look` finds out the status of the batch."""

    def __init__(self, look: Callable[[], Awaitable[BatchStatus]]) -> None:
        self.line = Line()
        self.sent = Sent(0, 0, None, reading=True)
        self._look = look
        self._moved = time.monotonic()
        self._past: deque[tuple[float, int]] = deque([(self._moved, 0)])
        self._said: set[str] = set()

    def note(self, sent: Sent) -> None:
        """Take the news."""
        if sent != self.sent:
            self._moved = time.monotonic()
        if self.sent.size is None and not self.sent.sent:
            # What was durable before this began was not sent now.
            self._past = deque([(self._moved, sent.sent)])
        self.sent = sent

    async def run(self) -> None:
        """Show it again and again."""
        while True:
            waits = await self._why() if time.monotonic() - self._moved > STILL_SECONDS else ""
            self._show(time.monotonic(), waits)
            await asyncio.sleep(SHOW_SECONDS)

    def _show(self, now: float, waits: str) -> None:
        self._past.append((now, self.sent.sent))
        while len(self._past) > 2 and self._past[1][0] < now - RATE_SECONDS:  # noqa: PLR2004 - two make a rate
            self._past.popleft()
        began, before = self._past[0]
        rate = max(0, self.sent.sent - before) / max(now - began, SHOW_SECONDS)
        self.line.show(show_batch.sending(self.sent, rate, waits))
        held = waits not in {"", DATA} and now - self._moved > REMARK_SECONDS
        if held and not self.line.wanted and waits not in self._said:
            self._said.add(waits)
            remark(waits)

    async def _why(self) -> str:
        """Find out what it waits for."""
        if self.sent.reading:
            return DATA
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                status = await self._look()
        except (TimeoutError, UnavailableError):
            return SILENCE
        except RotaError:  # the view of a batch follows it
            return JOBS
        return PAUSED if status == "paused" else JOBS
