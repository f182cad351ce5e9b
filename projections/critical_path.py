"""The critical path of a workflow: the chain of jobs that takes longest, one waiting for the other."""

from collections import deque
from collections.abc import Collection, Hashable, Sequence
from statistics import median

from msgspec import Struct

from events.workflow_graph import dependents


class Timed(Struct, frozen=True):
    """What is known of how long a job takes."""

    like: Hashable
    """Jobs that have this in common take about as long as each other."""
    seconds: float = 0.0
    """How long it took, or has been at work by now."""
    ended: bool = False
    typical: bool = False
    """Whether others of its like may be expected to take as long."""


def estimated_seconds(jobs: Sequence[Timed]) -> list[float]:
    """Return for each job how long it took, or will take: at least as long as others of its like did by median."""
    taken: dict[Hashable, list[float]] = {}
    for job in jobs:
        if job.typical:
            taken.setdefault(job.like, []).append(job.seconds)
    expected = {like: median(seconds) for like, seconds in taken.items()}
    return [job.seconds if job.ended else max(job.seconds, expected.get(job.like, 0.0)) for job in jobs]


def longest_chain(before: Sequence[Collection[int]], seconds: Sequence[float]) -> list[int]:
    """Return the jobs of the chain that takes longest, first to last; of several the one with the most jobs.

    `before` are for each job those that it waits for. There is no cycle.
    """
    if not before:
        return []
    waiting = [len(set(others)) for others in before]
    after = dependents(before)
    length = [(taken, 1) for taken in seconds]
    """Of the longest chain that ends with each job: its seconds, and its number of jobs."""
    previous: list[int | None] = [None] * len(before)
    free = deque(number for number, count in enumerate(waiting) if not count)
    while free:
        number = free.popleft()
        so_far, jobs = length[number]
        for other in after[number]:
            way = (so_far + seconds[other], jobs + 1)
            if way > length[other]:
                length[other], previous[other] = way, number
            waiting[other] -= 1
            if not waiting[other]:
                free.append(other)
    at: int | None = max(range(len(before)), key=lambda number: (length[number], -number))
    chain = []
    while at is not None:
        chain.append(at)
        at = previous[at]
    return chain[::-1]
