from datetime import UTC, datetime, timedelta

import pytest

from rota.errors import InvalidRequestError
from rota.moment import read_moment, read_point

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("2h", timedelta(hours=2)),
        ("1d12h", timedelta(days=1, hours=12)),
        ("2w", timedelta(weeks=2)),
        ("0s", timedelta()),
    ],
)
def test_a_duration_is_so_long_ago(text: str, ago: timedelta) -> None:
    assert read_moment(text, NOW) == NOW - ago


@pytest.mark.parametrize("text", ["2026-01-30T23:00:00Z", "2026-01-31T00:00:00+01:00", "2026-01-30 23:00:00.000Z"])
def test_a_time_has_a_zone(text: str) -> None:
    assert read_moment(text, NOW) == datetime(2026, 1, 30, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-01-30", "2026-01-30T23:00:00", "5", "5x", "h", "m5", "-5m"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="is no moment: give an RFC 3339 time"):
        read_moment(text, NOW)


def test_no_time_is_too_long_ago_for_an_answer() -> None:
    with pytest.raises(InvalidRequestError, match="before all times"):
        read_moment("999999999w", NOW)


def test_a_number_alone_is_a_sequence() -> None:
    assert read_point("12345", NOW) == 12345
    assert read_point("5m", NOW) == NOW - timedelta(minutes=5)
