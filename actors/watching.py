"""Waits for what actors do, and tells when their processes are lost."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

from actors.system import Actor, ActorDiedError, ActorFailedError

AGAIN_SECONDS = 0.5

log = logging.getLogger("rota.supervisor")


class LostActorError(Exception):
    """The process of an actor has ended, or what it did has failed: it is not known how far it came."""


async def watched(actor: Actor, run: Awaitable[Any]) -> Any:
    """Return what an actor returns, or raise LostActorError if its process ends or what it does fails."""
    try:
        return await run
    except ActorDiedError as error:
        log.warning("%s; starting it again", error)
        raise LostActorError(actor.name) from error
    except ActorFailedError as error:
        log.exception("%s failed; starting it again", actor.name)
        actor.end()
        await asyncio.sleep(AGAIN_SECONDS)
        raise LostActorError(actor.name) from error
