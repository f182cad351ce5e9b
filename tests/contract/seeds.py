"""Files of each format to be changed: those of its case, of the suite's samples, and of other programs."""

import importlib
from pathlib import Path

from events.formats import FORMATS
from rota.options import CsvOptions, Options, TsvOptions
from tests.contract.formats.case import Case, rows_of
from tests.contract.mutants import Seed
from tests.contract.test_formats import COMPRESS

DATA = Path(__file__).parents[1] / "data"
TYPES = {"id": "int64", "name": "string", "price": "float64", "paid": "bool"}
DOCUMENTS = {"ods", "raw", "toml", "xlsx"}
"""Formats in which what stands at the end may change the meaning of all."""


def case_of(format_: str) -> Case:
    """Return the case of a format."""
    case: Case = importlib.import_module(f"tests.contract.formats.{format_}").CASE
    return case


def seeds_of(format_: str) -> list[Seed]:
    """Return the small files of a format: plain ones, and one of each compression."""
    case = case_of(format_)
    seeds = [_written(case, count) for count in (1, 5, 50)]
    few = seeds[1].body
    seeds += [
        Seed(f"{name} of 5 rows", format_, _typed(case), compress(few), name, cut_shows=True, ordered=True)
        for name, compress in COMPRESS.items()
    ]
    samples = [(name, sample[0], case.options) for name, sample in case.typed.items()]
    samples += [(f"bad {n}", sample.body, sample.options or case.options) for n, sample in enumerate(case.bad)]
    samples += [(name, body, case.options) for name, body in case.broken.items()]
    samples += [
        (path.name, path.read_bytes(), FORMATS[format_].options())
        for path in sorted((DATA / format_).glob("*"))
        if path.suffix != ".md"
    ]
    return seeds + [Seed(name, format_, options, body) for name, body, options in samples if body]


def large_seed_of(format_: str) -> Seed:
    """Return a file of a format that is read in several blocks."""
    case = case_of(format_)
    return _written(case, 1 if case.one_row_a_file else case.many)


def _written(case: Case, count: int) -> Seed:
    body = case.write(rows_of(1 if case.one_row_a_file else count))
    ordered = case.format not in DOCUMENTS
    return Seed(
        f"{count} rows",
        case.format,
        _typed(case),
        body,
        cut_shows=case.cut_shows and not case.one_row_a_file,
        ordered=ordered,
        is_archive=body.startswith(b"PK"),
    )


def _typed(case: Case) -> Options:
    """Return options with which no type depends on what comes later."""
    if case.format == "csv":
        return CsvOptions(column_types=TYPES)
    return TsvOptions(column_types=TYPES) if case.format == "tsv" else case.options
