"""How long a batch will take, by what is known of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from projections.estimates import Known, Progress, rate, seconds_left, share_read

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def progress(*files: Known, seconds: float = 10, **changes: Any) -> Progress:
    known: dict[str, Any] = {"files_total": len(files), "rows": 0, "max_rows": None, "jobs": 0, "jobs_ended": 0}
    return Progress(begun_at=NOON, now=NOON + timedelta(seconds=seconds), files=files, **known | changes)


FINISHED = Known(finished=True, size=100, read=90)
HALF = Known(finished=False, size=100, read=50)


@pytest.mark.parametrize(
    ("known", "share"),
    [
        (progress(HALF), 0.5),
        (progress(FINISHED, HALF), 0.75),
        # Two files that are not begun are taken to be as large as those that are known.
        (progress(FINISHED, HALF, files_total=4), 0.375),
        # Of a compressed file nobody can tell how far it is read.
        (progress(FINISHED, Known(finished=False, size=300, read=None)), 0.25),
        (progress(Known(finished=True, size=None, read=None), files_total=4), 0.25),
        (progress(Known(finished=False, size=100, read=250)), 1),
        (progress(Known(finished=False, size=0, read=None)), None),
        (progress(files_total=5), 0),
        # How many there will be is not known.
        (progress(FINISHED, files_total=None), None),
        (progress(HALF, rows=80, max_rows=100), 0.8),
        (progress(HALF, rows=10, max_rows=100), 0.5),
    ],
)
def test_the_share_that_is_read_goes_by_bytes_or_rows(known: Progress, share: float | None) -> None:
    assert share_read(known) == share


def test_what_is_sealed_takes_as_long_as_its_jobs() -> None:
    assert seconds_left(progress(FINISHED, jobs=8, jobs_ended=2), sealed=True) == 30


def test_a_batch_that_reads_faster_than_it_works_takes_as_long_as_all_of_its_jobs() -> None:
    assert seconds_left(progress(HALF, jobs=8, jobs_ended=2), sealed=False) == 70


def test_a_batch_that_works_as_fast_as_it_reads_takes_as_long_as_the_reading() -> None:
    assert seconds_left(progress(HALF, jobs=8, jobs_ended=8), sealed=False) == 10


def test_what_was_done_before_a_batch_was_begun_again_says_nothing_of_its_speed() -> None:
    before: dict[str, Any] = {"rows": 100, "rows_before": 60, "jobs_before": 6}
    jobs_alone = progress(FINISHED, jobs=10, jobs_ended=8, jobs_before=6, rows=100, rows_before=100)

    # Two jobs in ten seconds, and two are left.
    assert seconds_left(jobs_alone, sealed=True) == 10
    # Of the half that is read, two fifths were read in these ten seconds: the other half takes 25 s.
    assert seconds_left(progress(HALF, jobs=10, jobs_ended=10, **before), sealed=False) == 25
    # Of 20 jobs in all 12 are left.
    assert seconds_left(progress(HALF, jobs=10, jobs_ended=8, **before), sealed=False) == 60


@pytest.mark.parametrize(
    ("known", "sealed"),
    [
        (progress(HALF, jobs=8, jobs_ended=4, jobs_before=4), False),
        (progress(FINISHED, jobs=8, jobs_ended=4, jobs_before=4), True),
        (progress(HALF, jobs=8, jobs_ended=4, rows=9, rows_before=9), False),
        (progress(HALF, jobs=8), False),
        (progress(files_total=3, jobs=8, jobs_ended=3), False),
        (progress(HALF, jobs=8, jobs_ended=3, seconds=0), False),
        (progress(FINISHED, jobs=8), True),
    ],
)
def test_nobody_can_tell_before_something_is_read_and_has_ended(known: Progress, sealed: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert seconds_left(known, sealed=sealed) is None


def test_a_sealed_batch_without_jobs_takes_no_time() -> None:
    assert seconds_left(progress(), sealed=True) == 0


def test_there_is_no_rate_before_time_has_passed() -> None:
    assert rate(5, NOON, NOON) is None
    assert rate(5, NOON, None) is None
    assert rate(5, NOON, NOON + timedelta(seconds=2)) == 2.5
