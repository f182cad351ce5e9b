"""Changed files of every format: each gives rows or an error, within bounds, and loses nothing without a word."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from events.formats import FORMATS
from tests.contract.mutants import Mutant, mutant
from tests.contract.reading_process import Ending, ReadingProcess, Task
from tests.contract.seeds import large_seed_of, seeds_of

SECONDS = float(os.environ.get("ROTA_FUZZ_SECONDS", "6"))
"""For all formats together."""
CHANCE = int(os.environ.get("ROTA_FUZZ_SEED", "4"))
LARGE_FROM_SECONDS = 5
"""Large files are changed as well in a run that has so long for each format."""
HANGS_AFTER_SECONDS = 60
MOST_CPU_SECONDS = 5
MOST_BYTES = 1 << 30


@pytest.fixture(scope="module")
def process() -> Iterator[ReadingProcess]:
    process = ReadingProcess()
    yield process
    process.close()


@pytest.mark.parametrize("format_", FORMATS)
def test_a_changed_file_gives_rows_or_an_error(format_: str, process: ReadingProcess, tmp_path: Path) -> None:
    chance = Random(f"{CHANCE} {format_}")
    seconds = SECONDS / len(FORMATS)
    small = seeds_of(format_)
    large = [large_seed_of(format_)] if seconds >= LARGE_FROM_SECONDS else []
    until = time.monotonic() + seconds
    number = 0
    while time.monotonic() < until:
        number += 1
        seed = large[0] if large and number % 50 == 0 else chance.choice(small)
        found = mutant(seed, [one for one in small if one.compression == seed.compression], chance)
        wrong = _wrong(found, process.read(_task(found, is_large=seed in large), HANGS_AFTER_SECONDS))
        if wrong:
            path = tmp_path / f"{seed.format}.{seed.compression}"
            path.write_bytes(found.body)
            pytest.fail(
                f"mutant {number} of ROTA_FUZZ_SEED={CHANCE}, {' and '.join(found.how)} of {seed.name!r} with "
                f"{seed.options}, kept as {path}: {wrong}"
            )


def _task(found: Mutant, *, is_large: bool) -> Task:
    seed = found.seed
    return Task(
        seed.format,
        seed.options,
        found.body,
        seed.compression,
        original=seed.body if seed.ordered else None,
        same=found.same,
        last_may_differ=not seed.cut_shows,
        many=is_large,
    )


def _wrong(found: Mutant, ending: Ending) -> str:
    if ending.wrong:
        return ending.wrong
    if ending.cpu_seconds > MOST_CPU_SECONDS:
        return f"reading took {ending.cpu_seconds:.1f} seconds"
    if ending.grown_bytes > MOST_BYTES:
        return f"reading took {ending.grown_bytes >> 20} MiB of memory"
    if found.seed.cut_shows and found.is_cut and not ending.error:
        return f"{ending.rows} rows without an error, though the file was cut at byte {len(found.body)}"
    return ""
