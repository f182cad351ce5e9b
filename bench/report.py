"""What all bench scripts share: their options, the stack they measure, and how figures are printed."""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from scripts.stack import Service, Stack, nats_running
from scripts.store import Store
from scripts.workers import start_workers

STORE = "bench"


def options(description: str | None) -> argparse.Namespace:
    """Read the command line: --quick, --json."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller run of under a minute")
    parser.add_argument("--json", action="store_true", help="print one flat object of the figures instead")
    return parser.parse_args()


@contextmanager
def running(workers: int) -> Iterator[tuple[Stack, Store, list[Service]]]:
    """Run a stack, an object store that it knows as STORE, and worker processes."""
    with tempfile.TemporaryDirectory(prefix="rota-bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        (home / "s3").mkdir()
        with Store(home / "s3") as store:
            (home / "connections.toml").write_text(store.connection(STORE))
            with Stack(home, nats_port=0, port=0) as stack:
                processes = start_workers(workers, stack.nats_url, home, stack.environment)
                try:
                    yield stack, store, processes
                finally:
                    for process in processes:
                        process.stop()


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run a nats-server alone, with Rota's configuration and its data in a folder; yield its address."""
    with nats_running(folder / "store", folder / "nats.log") as (_, url):
        yield url


def memory(pids: Iterable[int], field: str = "VmRSS") -> int:
    """Return the memory of processes together, in bytes, now or at its peak (`VmHWM`)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            total += int(line.split()[1]) * 1024 if line.startswith(field) else 0
    return total


def show(title: str, figures: Mapping[str, tuple[str, Sequence[float]]], *, as_json: bool) -> None:
    """Print the figures: name -> (what it is, one value a run)."""
    if as_json:
        print(json.dumps({name: round(statistics.median(runs), 4) for name, (_, runs) in figures.items()}))
        return
    table = Table(title=f"{title} ({os.cpu_count()} cores)", title_justify="left")
    for column in ("figure", "what", "median", "range", "runs"):
        justify: Literal["left", "right"] = "left" if column in ("figure", "what") else "right"
        table.add_column(column, justify=justify, no_wrap=column == "figure")
    for name, (what, runs) in figures.items():
        low, high = _number(min(runs)), _number(max(runs))
        table.add_row(name, what, _number(statistics.median(runs)), f"{low} - {high}", str(len(runs)))
    Console(file=sys.stdout, width=max(100, Console().width)).print(table)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
