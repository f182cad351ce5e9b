"""Dead letters, as a client sees them: commands that were refused, or that Rota could not carry out."""

from collections.abc import AsyncGenerator
from typing import Literal

from rota.http import Gateway
from rota.protocol import DeadLetterList, DeadLetterView

PAGE = 100


class DeadLetters:
    """The dead letters of a client."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def list(
        self, *, status: Literal["failed", "refused"] | None = None, after: int = 0
    ) -> AsyncGenerator[DeadLetterView, None]:
        """Yield the letters after a sequence, oldest first, asked for by the page."""
        async for page in self._gateway.pages(
            "/dead-letters", DeadLetterList, status=status, after=after, limit=PAGE
        ):
            for letter in page.dead_letters:
                yield letter

    async def get(self, sequence: int) -> DeadLetterView:
        """Return a letter."""
        return await self._gateway.get(f"/dead-letters/{sequence}", DeadLetterView)

    async def send_again(self, sequence: int) -> None:
        """Have a letter's command carried out after all; the letter goes. To be done when the cause is mended."""
        await self._gateway.post(f"/dead-letters/{sequence}/send-again", {})

    async def remove(self, sequence: int) -> None:
        """Remove a letter."""
        await self._gateway.delete(f"/dead-letters/{sequence}")
