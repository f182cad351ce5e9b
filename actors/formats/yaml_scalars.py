"""What a scalar of YAML is: the types of YAML 1.2's core schema, and dates and times."""

import re
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

MAX_DIGITS = 4000
PREFIX = "tag:yaml.org,2002:"

_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_OLD_BOOLS = {"yes": True, "on": True, "y": True, "no": False, "off": False, "n": False}
"""What YAML 1.1 has for truth values: only where the tag !!bool is written."""
_NUMBERS = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:[Tt]|[ \t]+)([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]*))?"
    r"(?:[ \t]*(Z|([-+])([0-9]{1,2})(?::?([0-9]{2}))?))?"
)


def plain_value(text: str) -> Any:
    """Return the value of a scalar without quotes and tag; a text where it is nothing else.

    ValueError if it is a whole number with too many digits.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBERS:
        return text
    if _INTEGER.fullmatch(text):
        return _integer(text, 10)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _OTHER_BASE.fullmatch(text):
        return _integer(text, 0)
    if _DATE.fullmatch(text):
        return _or_text(_date, text)
    if _TIMESTAMP.fullmatch(text):
        return _or_text(_timestamp, text)
    return text


def tagged_value(tag: str, text: str) -> Any:
    """Return the value of a scalar with a tag; ValueError if it has none, KeyError if the tag is not known."""
    if tag == "!":
        return text
    return _TAGS[tag.removeprefix(PREFIX) if tag.startswith(PREFIX) else "!" + tag](text)


def _integer(text: str, base: int) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    return int(text, base)


def _date(text: str) -> date:
    return date.fromisoformat(text)


def _timestamp(text: str) -> datetime:
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        raise ValueError("no timestamp")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    fraction, zone, sign, hours, minutes = found.groups()[6:]
    digits = (fraction or "").rstrip("0")
    if len(digits) > 6:  # noqa: PLR2004 - microseconds
        raise ValueError("more digits than microseconds have")
    offset = None
    if zone:
        offset = UTC
        if sign:
            delta = timedelta(hours=int(hours), minutes=int(minutes or 0))
            offset = timezone(-delta if sign == "-" else delta)
    return datetime(year, month, day, hour, minute, second, int(digits.ljust(6, "0")), tzinfo=offset)


def _or_text(convert: Callable[[str], Any], text: str) -> Any:
    """Return what the text looks like; the text if there is no such day or time, so that nothing is lost."""
    try:
        return convert(text)
    except ValueError:
        return text


def _tagged_null(text: str) -> None:
    if _WORDS.get(text, text) is not None:
        raise ValueError("no null")


def _tagged_bool(text: str) -> bool:
    value = _WORDS.get(text, _OLD_BOOLS.get(text.lower()))
    if not isinstance(value, bool):
        raise ValueError("no truth value")  # noqa: TRY004 - the text is wrong
    return value


def _tagged_int(text: str) -> int:
    if _INTEGER.fullmatch(text):
        return _integer(text, 10)
    if _OTHER_BASE.fullmatch(text):
        return _integer(text, 0)
    raise ValueError("no whole number")


def _tagged_float(text: str) -> float:
    value = _WORDS.get(text)
    if isinstance(value, float):
        return value
    if _FLOAT.fullmatch(text):
        return float(text)
    raise ValueError("no number")


def _tagged_timestamp(text: str) -> date:
    return _date(text) if _DATE.fullmatch(text) else _timestamp(text)


def _tagged_binary(text: str) -> bytes:
    return b64decode("".join(text.split()), validate=True)


_TAGS: dict[str, Callable[[str], Any]] = {
    "binary": _tagged_binary,
    "bool": _tagged_bool,
    "float": _tagged_float,
    "int": _tagged_int,
    "null": _tagged_null,
    "str": str,
    "timestamp": _tagged_timestamp,
}
