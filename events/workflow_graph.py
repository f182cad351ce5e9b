"""The graph of a workflow: which job comes after which."""

from collections import deque
from collections.abc import Collection, Sequence


def dependents(before: Sequence[Collection[int]]) -> tuple[tuple[int, ...], ...]:
    """Return for each job those that wait for it; `before` are for each the jobs that it waits for."""
    found: list[list[int]] = [[] for _ in before]
    for number, others in enumerate(before):
        for other in sorted(set(others)):
            found[other].append(number)
    return tuple(tuple(one) for one in found)


def find_cycle(before: Sequence[Collection[int]]) -> list[int]:
    """Return the jobs of a cycle, each waiting for the one before it, the first for the last; [] without one."""
    waiting = [len(set(others)) for others in before]
    after = dependents(before)
    free = deque(number for number, count in enumerate(waiting) if not count)
    while free:
        for number in after[free.popleft()]:
            waiting[number] -= 1
            if not waiting[number]:
                free.append(number)
    stuck = {number for number, count in enumerate(waiting) if count}
    if not stuck:
        return []
    # Each that is stuck waits for one that is: to follow them leads into a cycle.
    way: dict[int, int] = {}
    at = min(stuck)
    while at not in way:
        way[at] = len(way)
        at = min(other for other in before[at] if other in stuck)
    return list(way)[way[at] :][::-1]


def reachable(after: Sequence[Sequence[int]], start: int) -> list[int]:
    """Return all jobs that wait for one, directly or not, in their order."""
    found: set[int] = set()
    todo = [start]
    while todo:
        for number in after[todo.pop()]:
            if number not in found:
                found.add(number)
                todo.append(number)
    return sorted(found)
