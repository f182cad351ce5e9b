"""Moments as people write them: a time, or how long ago."""

import re
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from rota.errors import InvalidRequestError

UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
DURATION = re.compile("".join(rf"(?:(\d{{1,9}}){unit})?" for unit in UNITS))
SAYS = "an RFC 3339 time like 2026-01-31T12:00:00Z, or how long ago, like 90s, 5m, 2h or 1d12h"


def read_moment(text: str, now: datetime) -> datetime:
    """Return the time that a text means; InvalidRequestError if it means none."""
    if text and (match := DURATION.fullmatch(text)):
        parts = zip(UNITS.values(), match.groups(), strict=True)
        try:
            return now - timedelta(**{unit: int(number) for unit, number in parts if number})
        except OverflowError as error:
            raise InvalidRequestError(f"{text} ago is before all times") from error
    try:
        time: datetime = msgspec.convert(text, Annotated[datetime, Meta(tz=True)])
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"{text!r} is no moment: give {SAYS}") from error
    return time


def read_point(text: str, now: datetime) -> int | datetime:
    """Return the sequence or the time that a text means; InvalidRequestError if it means none."""
    return int(text) if text.isascii() and text.isdigit() else read_moment(text, now)
