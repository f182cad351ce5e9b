"""Finds the cells of a column that are no values of its type, all at once.

The patterns take all that pyarrow's conversion takes, and hardly more.
"""

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rota.options import CsvOptions

DAY = (
    r"(?:\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"
    r"|02-(?:0[1-9]|1\d|2[0-8]))|(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
)
CLOCK = r"(?:[01]\d|2[0-3])(?::?[0-5]\d(?::?[0-5]\d(?:\.\d{1,9})?)?)?"
ZONE = r"(?:Z|[+-]\d\d(?::?\d\d)?)"
UTF_8 = (
    r"(?s)\A(?:[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    r"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})*\z"
)
MAX_DIGITS = 308
"""Whole numbers with more are beyond float64."""

Flags = npt.NDArray[np.bool_]


def not_of_type(cells: pa.Array, type_: pa.DataType, options: CsvOptions) -> Flags:
    """Return which of the cells, as bytes, are surely no values of a type; those without a value never are."""
    if pa.types.is_binary(type_):
        return np.zeros(len(cells), bool)
    if pa.types.is_string(type_):
        return ~_matches(cells, UTF_8)
    if pa.types.is_boolean(type_):
        return ~_bools(cells, options)
    if pa.types.is_integer(type_) or pa.types.is_duration(type_):
        return _no_integers(cells, pa.int64() if pa.types.is_duration(type_) else type_)
    if options.timestamp_formats and (pa.types.is_timestamp(type_) or pa.types.is_date(type_)):
        return _of_no_form(cells, options.timestamp_formats)
    return ~_matches(cells, _in_spaces(_pattern(type_, options)))


def no_json(cells: pa.Array) -> Flags:
    """Return which of the cells are no JSON."""
    decoder = msgspec.json.Decoder(msgspec.Raw)
    bad = np.zeros(len(cells), bool)
    for index, cell in enumerate(cells.to_pylist()):
        if cell is not None:
            try:
                decoder.decode(cell)
            except msgspec.DecodeError:
                bad[index] = True
    return bad


def inexact(cells: pa.Array) -> Flags:
    """Return which of the cells are whole numbers that float64 does not hold exactly."""
    found = np.zeros(len(cells), bool)
    suspects = np.flatnonzero(
        _matches(cells, _in_spaces(r"[+-]?\d{16,}")) & cells.is_valid().to_numpy(zero_copy_only=False)
    )
    for index in suspects:
        text = cells[int(index)].as_py().strip()
        found[index] = len(text) > MAX_DIGITS or int(text) != float(text)
    return found


def all_match(cells: pa.Array, pattern: str) -> bool:
    """Return whether all of the cells that have a value match a pattern, with spaces around it or not."""
    return bool(_matches(cells, _in_spaces(pattern)).all())


def _in_spaces(pattern: str) -> str:
    return rf"\A[ \t]*(?:{pattern})[ \t]*\z"


def _matches(cells: pa.Array, pattern: str) -> Flags:
    found = pc.match_substring_regex(cells, pattern)
    return found.fill_null(pa.scalar(value=True)).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return] # pyarrow has no types


def _pattern(type_: pa.DataType, options: CsvOptions) -> str:
    point = "\\" + options.decimal_point if not options.decimal_point.isalnum() else options.decimal_point
    number = rf"[+-]?(?:\d+(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?"
    if pa.types.is_floating(type_):
        return rf"{number}|[+-]?(?i:nan|inf|infinity)"
    if pa.types.is_decimal(type_):
        before, behind = type_.precision - type_.scale, type_.scale
        plain = rf"[+-]?0*\d{{0,{before}}}(?:{point}\d{{0,{behind}}}0*)?"
        return rf"{plain}|{number[:-1]}"  # how long one with an exponent is, the conversion tells
    if pa.types.is_date(type_):
        return DAY
    if pa.types.is_time(type_):
        return CLOCK
    if pa.types.is_timestamp(type_):
        return rf"{DAY}(?:[ T]{CLOCK}{ZONE if type_.tz else ''}){'' if type_.tz else '?'}"
    raise ValueError(f"There is no pattern for {type_}")


def _bools(cells: pa.Array, options: CsvOptions) -> Flags:
    true = ["1", "true", "TRUE", "True"] if options.true_values is None else options.true_values
    false = ["0", "false", "FALSE", "False"] if options.false_values is None else options.false_values
    trimmed = pc.replace_substring_regex(cells, r"\A[ \t]+|[ \t]+\z", "")
    known = pc.is_in(trimmed, pa.array([text.encode() for text in [*true, *false]], pa.binary()))
    return pc.or_(known, cells.is_null()).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return] # as above


def _no_integers(cells: pa.Array, type_: pa.DataType) -> Flags:
    hexadecimal = _matches(cells, _in_spaces("0[xX][0-9a-fA-F]{1,16}"))
    signed = pa.types.is_signed_integer(type_)
    whole = _matches(cells, _in_spaces(r"-?\d+" if signed else r"\d+"))
    plain = pc.if_else(pa.array(whole), cells, None)
    negative = np.asarray(pc.match_substring_regex(plain, "-").fill_null(pa.scalar(value=False)))
    digits = pc.replace_substring_regex(plain, r"\A[ \t]*-?0*|[ \t]+\z", "").cast(pa.string())
    bits = type_.bit_width - (1 if signed else 0)
    beyond = np.where(negative, _above(digits, 2**bits), _above(digits, 2**bits - 1))
    return ~(whole | hexadecimal) | beyond


def _above(digits: pa.Array, largest: int) -> Flags:
    """Return which of the numbers without leading zeros are larger."""
    text = str(largest)
    length = pc.utf8_length(digits)
    longer = pc.greater(length, len(text))
    above = pc.or_(longer, pc.and_(pc.equal(length, len(text)), pc.greater(digits, text)))
    return above.fill_null(pa.scalar(value=False)).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return] # as above


def _of_no_form(cells: pa.Array, forms: list[str]) -> Flags:
    text = pc.if_else(pa.array(_matches(cells, UTF_8)), cells, None).cast(pa.string())
    known = cells.is_null()
    for form in forms:
        known = pc.or_(known, pc.strptime(text, format=form, unit="us", error_is_null=True).is_valid())
    return ~np.asarray(known)
