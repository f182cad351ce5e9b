"""Ray: starts, names, places and ends actors. The only file that imports it.

Ray is the control plane. No job passes through a Ray call: an actor reads and writes JetStream itself.
"""

import logging
import os
from typing import Any, Self

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray.exceptions import RayActorError, RayTaskError

from rota.errors import RotaError

OBJECT_STORE_BYTES = 80 * 1024 * 1024
CALLS_AT_A_TIME = 8

log = logging.getLogger("rota.system")


class ActorDiedError(RotaError):
    """The process of an actor has ended: spawn it again."""


class ActorFailedError(RotaError):
    """A call to an actor raised; the text says what."""


class Actor:
    """A running actor."""

    def __init__(self, name: str, handle: Any) -> None:
        self.name = name
        self._handle = handle

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call a method and wait for what it returns."""
        try:
            return await getattr(self._handle, method).remote(*arguments)
        except RayTaskError as error:
            raise ActorFailedError(f"{self.name}.{method}: {error.cause!r}") from error
        except RayActorError as error:
            raise ActorDiedError(f"The process of {self.name} has ended") from error

    def end(self) -> None:
        """End its process at once."""
        ray.kill(self._handle)


class System:
    """The actors of one process; they end with it."""

    def __init__(self, address: str | None) -> None:
        self._address = address

    def __enter__(self) -> Self:
        """Start Ray here, or join the cluster at the address."""
        ray.init(
            address=self._address or "local",
            include_dashboard=False,
            configure_logging=False,
            log_to_driver=True,
            # A cluster that is joined has chosen its own.
            object_store_memory=None if self._address else OBJECT_STORE_BYTES,
        )
        return self

    def __exit__(self, *_: object) -> None:
        ray.shutdown()

    def processors(self) -> int:
        """Return how many processors the machines of the actors have."""
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call] # Ray has few types
        return max(1, int(resources.get("CPU", 1)))

    def spawn(self, name: str, role: type[Any], *arguments: Any) -> Actor:
        """Start an actor: an instance of a class with async methods, in a process of its own."""
        actor = ray.remote(role).options(num_cpus=0, max_concurrency=CALLS_AT_A_TIME)
        return Actor(name, actor.remote(*arguments))
