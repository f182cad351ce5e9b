"""The chain of jobs that takes longest, and how long a job will take."""

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from projections.critical_path import Timed, estimated_seconds, longest_chain


def test_the_longer_of_two_ways_is_the_critical_path() -> None:
    diamond = [[], [0], [0], [1, 2]]

    assert longest_chain(diamond, [1, 5, 2, 1]) == [0, 1, 3]
    assert longest_chain(diamond, [1, 5, 6, 1]) == [0, 2, 3]


def test_a_job_that_stands_alone_may_take_longest() -> None:
    assert longest_chain([[], [0], [1], []], [1, 1, 1, 10]) == [3]


def test_of_chains_that_take_as_long_the_one_with_more_jobs_is_critical() -> None:
    assert longest_chain([[], [], [1], [2]], [0, 0, 0, 0]) == [1, 2, 3]


def test_a_job_named_twice_is_waited_for_once() -> None:
    assert longest_chain([[1, 1], []], [1, 1]) == [1, 0]


def test_a_workflow_without_jobs_has_no_critical_path() -> None:
    assert longest_chain([], []) == []


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[list[int]], list[float]]:
    count = draw(st.integers(1, 8))
    earlier = [
        st.lists(st.integers(0, number - 1), max_size=3) if number else st.just([]) for number in range(count)
    ]
    before = [draw(one) for one in earlier]
    seconds = [float(draw(st.integers(0, 5))) for _ in before]
    # The numbers say nothing of the order.
    names = list(range(count))
    random.Random(draw(st.integers(0, 99))).shuffle(names)
    shuffled: list[list[int]] = [[] for _ in before]
    for number, others in enumerate(before):
        shuffled[names[number]] = [names[other] for other in others]
    return shuffled, seconds


@given(graphs())
def test_no_chain_takes_longer(graph: tuple[list[list[int]], list[float]]) -> None:
    before, seconds = graph

    def longest(number: int) -> float:
        return seconds[number] + max((longest(other) for other in before[number]), default=0.0)

    chain = longest_chain(before, seconds)
    assert all(first in before[second] for first, second in pairwise(chain))
    assert sum(seconds[number] for number in chain) == max(map(longest, range(len(before))))


def test_a_job_that_waits_will_take_as_long_as_others_of_its_like_by_median() -> None:
    ended = [Timed("a", seconds, ended=True, typical=True) for seconds in (1.0, 2.0, 30.0)]

    assert estimated_seconds([*ended, Timed("a"), Timed("b")])[3:] == [2.0, 0.0]


def test_a_job_at_work_takes_at_least_as_long_as_by_now_and_as_others_did() -> None:
    ended = Timed("a", 10.0, ended=True, typical=True)

    assert estimated_seconds([ended, Timed("a", 4.0), Timed("a", 12.0)]) == [10.0, 10.0, 12.0]


def test_what_has_failed_says_nothing_of_others() -> None:
    failed = Timed("a", 0.1, ended=True)

    assert estimated_seconds([failed, Timed("a", 10.0, ended=True, typical=True), Timed("a")]) == [0.1, 10.0, 10.0]
