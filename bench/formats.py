"""Each format from a file on the disk to the payloads of jobs, beside other libraries that read the same file.

Rota reads as a batch does: pieces of the file -> rows -> slices of 1,000 rows as Arrow IPC streams with their
SHA-256, with a thread for each step. The others only read, whatever they make of it: all batches of the file, where
the library has batches, else Python's objects; no file is mapped into memory. The share is that of the fastest.
All take turns, each in a process of its own that has read the file once before. On a busy machine the share by
processor time is steadier; that of the clock is better for who uses more cores.

Where the library hardly does anything, as with Arrow, no payloads can be made at its speed: `floor_with_payloads`
is the same library in one thread that makes them, without the checks and positions of a reader.

The peaks of memory are those of new processes, each of which reads one file; the small one is many times larger
than what is read at a time, and the large one has its rows ten times.
"""

import tempfile
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from msgspec import Struct

from bench.format_files import write
from bench.format_readers import PAYLOADS, READERS, ROTA, Reading, measured
from bench.report import show

TIMES = 10
RUNS = 5


class Plan(Struct, frozen=True):
    """How a format is measured."""

    rows: int
    """Of the small file."""
    share: float | None = None
    """What is to be reached, of the rows/s of the fastest library."""
    growth: float | None = 0.1
    """What the peak of memory may grow by; None if the file is held in memory."""
    quick_rows: int = 0


PLANS: dict[str, Plan] = {
    "arrow": Plan(1_000_000, 0.7, quick_rows=600_000),
    "avro": Plan(800_000, 0.6, quick_rows=400_000),
    "csv": Plan(1_000_000, 0.7, quick_rows=400_000),
    "json": Plan(400_000, 0.6, quick_rows=250_000),
    "messagepack": Plan(400_000, 0.6, quick_rows=100_000),
    "ndjson": Plan(400_000, 0.7, quick_rows=150_000),
    "ods": Plan(10_000, growth=None, quick_rows=1_000),
    "parquet": Plan(2_000_000, 0.7, quick_rows=600_000),
    "toml": Plan(10_000, growth=None, quick_rows=2_000),
    "tsv": Plan(1_000_000, 0.7, quick_rows=400_000),
    "xlsx": Plan(50_000, growth=None, quick_rows=5_000),
    "xml": Plan(300_000, 0.6, quick_rows=80_000),
    "yaml": Plan(100_000, quick_rows=40_000),
}
"""All formats of files with many rows."""


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller files, in under four minutes")
    parser.add_argument("--json", action="store_true", help="print one flat object of the figures instead")
    parser.add_argument(
        "--format", action="append", choices=PLANS, help="only this one; may be given several times"
    )
    chosen = parser.parse_args()
    figures: dict[str, tuple[str, Sequence[float]]] = {}
    for format_ in chosen.format or PLANS:
        with tempfile.TemporaryDirectory(prefix="rota-bench-") as folder:
            figures |= figures_of(format_, Path(folder), quick=chosen.quick)
    show("Formats", figures, as_json=chosen.json)


def figures_of(format_: str, folder: Path, *, quick: bool) -> dict[str, tuple[str, Sequence[float]]]:
    plan = PLANS[format_]
    rows, runs = (plan.quick_rows, 3) if quick else (plan.rows, RUNS)
    small, large = folder / f"small.{format_}", folder / f"large.{format_}"
    write(format_, small, rows)
    readings = readings_of(format_, small, runs)
    rates = {name: [one.rows / one.seconds for one in some] for name, some in readings.items()}
    mine = rates[ROTA]
    bytes_a_row = small.stat().st_size / rows
    peer = max(rates.keys() - {ROTA, PAYLOADS}, key=lambda name: median(rates[name]))
    shares = [own / other for own, other in zip(mine, rates[peer], strict=True)]
    cpu = [other.cpu_seconds / own.cpu_seconds for own, other in zip(readings[ROTA], readings[peer], strict=True)]
    figures: dict[str, tuple[str, Sequence[float]]] = {
        f"{format_}_rows_per_second": (f"{rows:,} rows x 10 columns, {bytes_a_row:.0f} bytes each", mine),
        f"{format_}_mb_per_second": ("the same in MB of the file", [rate * bytes_a_row / 1e6 for rate in mine]),
        f"{format_}_floor_rows_per_second": (f"floor: {peer} alone", rates[peer]),
        f"{format_}_share": (f"share of it{_goal('>=', plan.share)}", shares),
        f"{format_}_cpu_share": ("the same by rows a second of processor time", cpu),
    }
    if PAYLOADS in rates:
        floor = rates[PAYLOADS]
        figures |= {
            f"{format_}_floor_with_payloads": ("floor: and makes payloads, in one thread", floor),
            f"{format_}_share_with_payloads": (
                "share of that",
                [own / other for own, other in zip(mine, floor, strict=True)],
            ),
        }
    if plan.growth is not None:
        write(format_, large, rows, TIMES)
        times = 1 if quick else 3
        peaks = [[in_new_process(format_, file).peak_bytes for file in (small, large)] for _ in range(times)]
        figures |= {
            f"{format_}_peak_mb": ("peak memory of the small file", [first / 1e6 for first, _ in peaks]),
            f"{format_}_memory_growth": (
                f"of {TIMES} times the rows{_goal('<=', plan.growth)}",
                [second / first - 1 for first, second in peaks],
            ),
        }
    return figures


def readings_of(format_: str, file: Path, runs: int) -> dict[str, list[Reading]]:
    """Let all readers of a format read a file, in turns."""
    readings: dict[str, list[Reading]] = {name: [] for name in READERS[format_]}
    with ExitStack() as stack:
        processes = {name: stack.enter_context(process()) for name in readings}
        for run in range(runs):
            for name, executor in processes.items():
                warm_up = None if run else file
                readings[name].append(executor.submit(measured, format_, name, file, warm_up).result())
    return readings


def in_new_process(format_: str, file: Path) -> Reading:
    with process() as executor:
        return executor.submit(measured, format_, ROTA, file).result()


@contextmanager
def process() -> Iterator[ProcessPoolExecutor]:
    """Run another process for readings."""
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        yield executor


def _goal(sign: str, value: float | None) -> str:
    return "" if value is None else f"; goal {sign} {value:g}"


if __name__ == "__main__":
    main()
