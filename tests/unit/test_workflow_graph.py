"""The graph of a workflow: which job comes after which."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.workflow_graph import dependents, find_cycle, reachable

Graph = list[set[int]]

graphs: st.SearchStrategy[Graph] = st.integers(1, 8).flatmap(
    lambda count: st.lists(st.sets(st.integers(0, count - 1), max_size=3), min_size=count, max_size=count)
)


def test_dependents_are_found_in_their_order() -> None:
    assert dependents([[], [0], [0, 1, 0], []]) == ((1, 2), (2,), (), ())


def test_what_waits_for_a_job_is_found_over_any_number_of_others() -> None:
    after = dependents([[], [0], [1], [2], [], [4, 3]])

    assert reachable(after, 0) == [1, 2, 3, 5]
    assert reachable(after, 4) == [5]
    assert reachable(after, 5) == []


@pytest.mark.parametrize(
    ("before", "cycle"),
    [
        ([], []),
        ([[], [0], [1, 0]], []),
        ([[0]], [0]),
        ([[1], [0]], [1, 0]),
        ([[], [3, 0], [1], [2], [3]], [2, 3, 1]),
    ],
    ids=["nothing", "no cycle", "itself", "two", "with others before and after it"],
)
def test_a_cycle_is_found_as_jobs_each_of_which_waits_for_the_one_before_it(
    before: list[list[int]], cycle: list[int]
) -> None:
    assert find_cycle(before) == cycle


def test_ten_thousand_jobs_in_a_chain_are_no_cycle() -> None:
    before = [[number - 1] if number else [] for number in range(10_000)]

    assert find_cycle(before) == []
    assert len(reachable(dependents(before), 0)) == 9_999
    assert len(find_cycle([[9_999], *before[1:]])) == 10_000


@given(graphs)
def test_a_cycle_is_found_if_there_is_one(before: Graph) -> None:
    after = dependents(before)
    cycle = find_cycle(before)

    assert bool(cycle) == any(number in reachable(after, number) for number in range(len(before)))
    assert len(set(cycle)) == len(cycle)
    for one, next_ in zip(cycle, [*cycle[1:], *cycle[:1]], strict=True):
        assert one in before[next_]


@given(graphs)
def test_what_waits_for_a_job_is_what_a_naive_search_finds(before: Graph) -> None:
    after = dependents(before)

    for start in range(len(before)):
        found = {number for number, others in enumerate(before) if start in others}
        while more := {number for number, others in enumerate(before) if found & others} - found:
            found |= more
        assert reachable(after, start) == sorted(found)
