"""How many jobs of a batch have ended: a fold over what the log says of them."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from actors.tally import Tally
from events.batch import BatchDetails, CountJobs
from events.batch_state import BatchState

DETAILS = BatchDetails("load", "default", ("a.csv",), 10, 100, msgspec.Raw(b"\x80"))


def state(succeeded: int = 0, failed: int = 0) -> BatchState:
    return BatchState(1, "sealed", DETAILS, (), succeeded=succeeded, failed=failed)


def after(tally: Tally, *names: str) -> Tally:
    for name in names:
        tally.note(name)
    return tally


def test_all_that_did_not_succeed_counts_as_failed() -> None:
    tally = after(Tally(state(10, 1)), "succeeded", "failed", "timed_out", "cancelled")

    assert (tally.succeeded, tally.failed, tally.ended) == (11, 4, 15)


def test_a_job_that_runs_again_has_not_ended() -> None:
    tally = after(Tally(state(10, 3)), "redriven", "redriven", "succeeded")

    assert (tally.succeeded, tally.failed, tally.ended) == (11, 1, 12)


def test_there_is_something_to_tell_until_it_is_told() -> None:
    tally = Tally(state(10, 3))
    assert not tally.news
    tally.note("redriven")
    assert tally.news

    assert tally.tell("b", 90) == CountJobs(id="b", until=90, succeeded=10, failed=2)
    assert not tally.news


histories = st.lists(st.lists(st.just("failed"), max_size=3), max_size=5)


@given(failures=histories, cut=st.integers(0, 40), succeeds=st.booleans())
def test_whoever_takes_over_anywhere_counts_the_same(
    failures: list[list[str]], cut: int, *, succeeds: bool
) -> None:
    """Each job fails some times, runs again each time, and succeeds at last, or is left running."""
    ends = ["succeeded"] if succeeds else []
    names = [name for job in failures for one in job for name in (one, "redriven")] + ends * len(failures)
    first = after(Tally(state()), *names[:cut])
    second = after(Tally(state(first.succeeded, first.failed)), *names[cut:])

    assert (second.succeeded, second.failed) == (len(failures) if succeeds else 0, 0)
