"""What is wrong with the format of a request, or with the options that a file is to be read with."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from events.formats import Format, formats
from gateway.advice import explained
from gateway.pointers import pointer
from gateway.problems import Faults, unknown
from rota.options import ColumnType

TYPES = (
    "string, json, binary, bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, float64, date, "
    "time, duration, timestamp, timestamp[zone] and decimal(digits,decimals)"
)
"""The types that a column can have, as a message lists them."""


def check_options(format_: str | None, options: Mapping[str, Any], faults: Faults) -> None:
    """Note what is wrong: options are those of the format, or without a format, options by the names of formats."""
    known = formats()
    if format_ is None:
        for name, some in options.items():
            _check_by_name(name, some, faults)
    elif format_ in known:
        _check(known[format_], options, "#/options", faults)
    else:
        faults.add("#/format", _unknown(format_))


def _check_by_name(name: str, options: Any, faults: Faults) -> None:
    known, place = formats(), f"#/options{pointer([name])}"
    if name not in known:
        faults.add(
            place,
            f"{_unknown(name)}. Without a `format`, options are given by the names of formats, "
            'as in {"csv": {"delimiter": ";"}}',
        )
    elif not isinstance(options, Mapping):
        faults.add(place, f"The options of {name} are an object")
    else:
        _check(known[name], options, place, faults)


def _check(format_: Format, options: Mapping[str, Any], place: str, faults: Faults) -> None:
    try:
        msgspec.convert(options, format_.options)
    except msgspec.ValidationError as error:
        detail, where = explained(str(error), format_.options)
        wrong = list(_wrong_types(options.get("column_types"))) if where == "/column_types" else []
        for column, said in wrong:
            faults.add(f"{place}{where}{pointer([column])}", said)
        if not wrong:
            faults.add(f"{place}{where}", detail)


def _unknown(name: str) -> str:
    known = formats()
    said = unknown("format", name, list(known))
    return f"{said}{'' if said.endswith('?') else '.'} The formats are {', '.join(sorted(known))}"


def _wrong_types(types: Any) -> Iterator[tuple[str, str]]:
    """Find the types of columns that are none: msgspec shows a pattern, and no column."""
    if not isinstance(types, Mapping):
        return
    for column, type_ in types.items():
        try:
            msgspec.convert(type_, ColumnType)
        except msgspec.ValidationError:
            yield column, f"{type_!r:.100} is no type of a column. There are {TYPES}"
