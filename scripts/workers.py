"""Worker processes for the demo, the benches and the tests."""

from collections.abc import Mapping
from pathlib import Path

from scripts.stack import Service, program


def start_workers(
    number: int, nats_url: str, home: Path, environment: Mapping[str, str], *, module: str = "scripts.demo_jobs"
) -> list[Service]:
    """Start worker processes that run the jobs of a module."""
    workers = []
    for index in range(number):
        command = [program("rota"), "worker", module, "--nats-url", nats_url, "--concurrency", "50"]
        worker = Service(
            f"worker {index}", command, environment, home / "logs" / f"worker-{index}.log", says_ready=False
        )
        worker.start()
        workers.append(worker)
    return workers
