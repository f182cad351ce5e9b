"""What holds for every format: rows, types, bad rows, limits, compression, going on from each checkpoint."""

import bz2
import gzip
import importlib
import lzma
import random
from collections.abc import Callable
from typing import Any

import lz4.frame
import pytest
import zstandard
from msgspec.structs import replace

from actors.cutter import Cutter, JobLimits, Slice
from actors.formats.block import BadRowError, Block
from actors.formats.input import Input
from actors.formats.limits import Limits
from actors.formats.registry import read
from events.formats import FORMATS
from rota.errors import TooLargeError
from rota.options import BadRows, Compression
from tests.contract.formats.case import START, BadSample, Body, Case, blocks_of, rows_in, rows_of

COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {
    "bzip2": bz2.compress,
    "gzip": gzip.compress,
    "lz4": lz4.frame.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}
CASES: list[Case] = [importlib.import_module(f"tests.contract.formats.{name}").CASE for name in FORMATS]
TABLES = [case for case in CASES if not case.one_row_a_file]
PIECES = [1, 7, 4096, 1 << 20]

every_format = pytest.mark.parametrize("case", CASES, ids=lambda case: case.format)
every_table = pytest.mark.parametrize("case", TABLES, ids=lambda case: case.format)


def some(case: Case, count: int = 20) -> list[dict[str, Any]]:
    return rows_of(1 if case.one_row_a_file else count)


def read_until_error(case: Case, body: bytes, bad_rows: BadRows = "skip") -> tuple[list[dict[str, Any]], str]:
    """Return the rows before an error, and its text, or "" if there is none."""
    rows: list[dict[str, Any]] = []
    try:
        for block in read(case.format, Input(Body(body)), case.options, START, bad_rows=bad_rows):
            rows += block.table.to_pylist()
            if block.bad:
                return rows, block.bad[0].message
    except (BadRowError, TooLargeError) as error:
        return rows, str(error)
    return rows, ""


@every_format
@pytest.mark.parametrize("piece", PIECES)
def test_rows_come_back_however_the_bytes_arrive(case: Case, piece: int) -> None:
    rows = some(case)

    assert rows_in(blocks_of(case, case.write(rows), piece=piece)) == case.expected(rows)


@every_format
def test_one_row_comes_back(case: Case) -> None:
    rows = rows_of(1)

    assert rows_in(blocks_of(case, case.write(rows))) == case.expected(rows)


@every_format
def test_a_file_without_rows_has_none(case: Case) -> None:
    if case.empty is None:
        assert case.one_row_a_file
        return

    assert rows_in(blocks_of(case, case.empty)) == []


@every_format
def test_a_file_without_bytes_is_what_the_format_makes_of_it(case: Case) -> None:
    rows, error = read_until_error(case, b"")

    assert bool(error) == case.empty_file_is_error
    assert len(rows) == (1 if case.one_row_a_file else 0)


@every_table
def test_columns_that_are_chosen_come_alone(case: Case) -> None:
    rows = some(case)
    chosen = replace(case, options=replace(case.options, columns=["name", "id"]))

    assert rows_in(blocks_of(chosen, case.write(rows))) == [
        {name: row[name] for name in ("name", "id")} for row in case.expected(rows)
    ]


@every_table
def test_a_chosen_column_that_is_not_there_is_named_with_those_that_are(case: Case) -> None:
    chosen = replace(case, options=replace(case.options, columns=["id", "none"]))

    rows, error = read_until_error(chosen, case.write(some(case)))

    assert (rows, "none" in error) == ([], True)
    assert error.endswith("it has id, name, price, paid")


@every_format
@pytest.mark.parametrize("compression", COMPRESS)
def test_a_compressed_file_has_the_same_rows(case: Case, compression: Compression) -> None:
    rows = some(case)
    body = COMPRESS[compression](case.write(rows))

    assert len(rows_in(blocks_of(case, body, compression=compression))) == len(rows)
    if not case.one_row_a_file:
        assert rows_in(blocks_of(case, body, compression=compression)) == case.expected(rows)


@every_format
@pytest.mark.parametrize("compression", COMPRESS)
def test_a_compressed_file_that_is_cut_is_an_error(case: Case, compression: Compression) -> None:
    body = COMPRESS[compression](case.write(some(case)))

    with pytest.raises(BadRowError):
        blocks_of(case, body[:-5], compression=compression)


@every_table
def test_reading_goes_on_from_a_checkpoint_with_the_same_blocks_and_jobs(case: Case) -> None:
    rows = rows_of(case.many)
    body = case.write(rows)
    blocks = blocks_of(case, body)
    jobs = jobs_of(blocks)

    assert len(blocks) > 1
    assert rows_in(blocks) == case.expected(rows)
    for index in {1, len(blocks) - 1}:
        start, schema = blocks[index].start, blocks[-1].table.schema
        again = blocks_of(case, body, start=start, schema=schema)
        assert [block.start for block in again] == [block.start for block in blocks[index:]]
        for found, expected in zip(again, blocks[index:], strict=True):
            assert found.table.schema == expected.table.schema
            assert found.table == expected.table
        reached = next(job for job in jobs if job.position == start)
        assert jobs_of(again, reached.first_row + reached.count, reached.index + 1) == [
            job for job in jobs if job.index > reached.index
        ]


def jobs_of(blocks: list[Block], rows: int = 0, jobs: int = 0) -> list[Slice]:
    return [one for some in Cutter(JobLimits(1000), rows=rows, jobs=jobs).cut(blocks) for one in some.slices]


TYPED = [pytest.param(case, kept, id=f"{case.format}-{kept}") for case in CASES for kept in case.typed]


@pytest.mark.parametrize(("case", "kept"), TYPED)
def test_a_type_survives(case: Case, kept: str) -> None:
    body, type_, values = case.typed[kept]

    [block] = blocks_of(case, body)

    assert block.table.schema.field("x").type == type_
    assert repr(block.table["x"].to_pylist()) == repr(values)  # NaN is no equal of itself


BAD = [pytest.param(case, sample, id=f"{case.format}-{n}") for case in CASES for n, sample in enumerate(case.bad)]


@every_table
def test_a_format_with_rows_has_samples_of_bad_ones(case: Case) -> None:
    # These cannot have one: all their values have the type of their column.
    assert case.bad or case.format in {"arrow", "parquet"}


@pytest.mark.parametrize(("case", "sample"), BAD)
def test_reading_stops_at_a_bad_row_and_names_it(case: Case, sample: BadSample) -> None:
    rows: list[dict[str, Any]] = []
    blocks = read(case.format, Input(Body(sample.body)), sample.options or case.options, START)

    with pytest.raises(BadRowError) as caught:  # noqa: PT012 - the blocks before the error count
        for block in blocks:
            rows += block.table.to_pylist()

    assert rows == sample.rows[: sample.before]
    assert caught.value.fault.row == sample.before
    assert str(caught.value).startswith("rows.file, ")
    for text in sample.says:
        assert text in str(caught.value)


@pytest.mark.parametrize(("case", "sample"), BAD)
def test_bad_rows_are_passed_over_if_asked(case: Case, sample: BadSample) -> None:
    blocks = blocks_of(case, sample.body, options=sample.options, bad_rows="quarantine")

    assert rows_in(blocks) == sample.rows
    faults = [fault for block in blocks for fault in block.bad]
    assert len(faults) == sample.bad
    assert faults[0].row == sample.before


BROKEN = [pytest.param(case, wrong, id=f"{case.format}-{wrong}") for case in CASES for wrong in case.broken]


@pytest.mark.parametrize(("case", "wrong"), BROKEN)
def test_a_broken_file_is_an_error_and_never_wrong_rows(case: Case, wrong: str) -> None:
    rows, error = read_until_error(case, case.broken[wrong])

    assert error.startswith("rows.file")
    assert rows == case.expected(rows_of(len(rows)))


@every_table
def test_a_file_that_is_cut_gives_the_rows_before_and_says_so(case: Case) -> None:
    body = case.write(rows_of(5))
    whole = case.expected(rows_of(5))
    step = max(1, len(body) // 150)
    for end in range(1, len(body) - 1, step):
        rows, error = read_until_error(case, body[:end])
        if case.cut_shows:
            assert error, end
            assert rows == whole[: len(rows)]
        elif not error and rows:
            # What stands before the cut may look like a row with other columns.
            assert [{name: row[name] for name in whole[0]} for row in rows[:-1]] == whole[: len(rows) - 1]


@every_format
def test_a_changed_byte_raises_nothing_else(case: Case) -> None:
    body = case.write(some(case, 5))
    chance = random.Random(7)
    for _ in range(40):
        changed = bytearray(body)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        read_until_error(case, bytes(changed))


@pytest.mark.parametrize("case", [case for case in CASES if case.too_deep], ids=lambda case: case.format)
def test_a_file_that_is_nested_too_deeply_is_an_error(case: Case) -> None:
    assert case.too_deep
    _, error = read_until_error(case, case.too_deep)

    assert "deep" in error


@every_format
def test_a_closed_reading_closes_what_it_opened(case: Case) -> None:
    blocks = read(case.format, Input(Body(case.write(some(case)))), case.options, START)
    first: Block = next(blocks)

    blocks.close()  # type: ignore[attr-defined] # it is a generator

    assert first.table.num_rows


@every_format
def test_limits_are_errors_that_say_so(case: Case) -> None:
    body = case.write(some(case, 2000))
    tiny = Limits(row_bytes=8, whole_bytes=16, columns=2)

    with pytest.raises((BadRowError, TooLargeError), match=r"rows\.file"):
        blocks_of(case, body, limits=tiny)
