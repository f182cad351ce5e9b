"""NATS without the rest of Rota, for what is done while it is stopped."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from events.config import Config
from scripts.stack import StartError, nats_running, port_in_use


@contextmanager
def nats_alone(config: Config) -> Iterator[str]:
    """Yield the address of the server that ROTA_NATS_URL names, or run one on the store that `scripts/up` uses.

    StartError if somebody listens at the port of the latter: Rota runs.
    """
    if os.environ.get("ROTA_NATS_URL"):
        yield config.nats_url
        return
    if config.nats_port and port_in_use("127.0.0.1", config.nats_port):
        raise StartError(f"Port {config.nats_port} is in use: stop Rota, or set ROTA_NATS_URL")
    (config.home / "logs").mkdir(parents=True, exist_ok=True)
    store, log = (config.home / "nats").resolve(), config.home / "logs" / "nats-server.log"
    with nats_running(store, log) as (_, url):
        yield url
