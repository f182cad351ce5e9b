"""Worker processes for the demo, the benches and the tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.stack import Service, program


def start_workers(
    number: int,
    nats_url: str,
    home: Path,
    environment: Mapping[str, str],
    *,
    module: str = "scripts.demo_jobs",
    options: Sequence[str] = ("--concurrency", "50"),
) -> list[Service]:
    """Start worker processes that run the jobs of a module, with options of `rota worker`."""
    workers = []
    for index in range(number):
        command = [program("rota"), "worker", module, "--nats-url", nats_url, *options]
        worker = Service(
            f"worker {index}", command, environment, home / "logs" / f"worker-{index}.log", says_ready=False
        )
        worker.start()
        workers.append(worker)
    return workers
