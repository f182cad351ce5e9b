"""The stack for real use: starts it step by step, starts again what ends, stops it in order."""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from events.config import Config
from rota.errors import RotaError
from scripts.stack import Stack, StartError

HELP = """\
Configuration is read from the environment:
  ROTA_HOME        where data and logs are kept (.rota)
  ROTA_NATS_URL    a NATS server to use (default: start one)
  ROTA_NATS_PORT   port of the server that is started (4222)
  ROTA_HOST        address that the gateway listens on (127.0.0.1)
  ROTA_PORT        port of the gateway (8080)
  ROTA_SHARDS, ROTA_READERS, ROTA_MAX_BODY_BYTES, ROTA_LOG_LEVEL
  ROTA_KEEP_EVENTS_DAYS, ...: how long things are kept; all are in docs/reference/configuration.md
  RAY_ADDRESS      a Ray cluster to join (default: start Ray here)
"""
LOOK_SECONDS = 0.5


def show(name: str, address: str, seconds: float) -> None:
    print(f"  {name:<12} ready in {seconds:4.1f} s  {address}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/up", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    config = Config.read(os.environ)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stack = Stack(
        Path(config.home),
        nats_url=os.environ.get("ROTA_NATS_URL") or None,
        nats_port=config.nats_port,
        host=config.host,
        port=config.port,
        step=show,
    )
    print(f"Rota starts; data and logs in {stack.home}", flush=True)
    stack.start()
    print(f"Rota is ready at {stack.url}. Ctrl-C stops it.", flush=True)
    while not stop.wait(LOOK_SECONDS):
        # Without waiting: what starts may itself wait for another one that has ended.
        for name in stack.keep():
            print(f"  {name} has ended; starting it again", flush=True)
    print("Rota stops ...", flush=True)
    in_order = stack.stop()
    print(
        "Rota has stopped." if in_order else f"Rota has stopped, not all in order: see {stack.home}/logs",
        flush=True,
    )
    return 0 if in_order else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RotaError, StartError, OSError) as problem:
        sys.exit(f"rota: {problem}")
