"""What the jobs of a requested workflow refer to: which others they wait for, and what is wrong with that."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from msgspec import UNSET, Struct

from events.references import (
    INDEX,
    ITEM,
    LITERAL,
    PARAMS,
    InvalidReferenceError,
    MissingOutputError,
    Reference,
    pick,
    references,
)
from events.workflow_graph import find_cycle
from gateway.problems import Faults, unknown
from rota.workflow_protocol import WorkflowJobRequest

MAX_COMPARED = 500
"""In a workflow with more jobs no name is looked for that is near to an unknown one: it takes too long."""
MAX_SHOWN = 20
"""Jobs of a cycle that are shown."""

SAFE = "/~!$&'()*+,;=:@"


class Use(Struct, frozen=True):
    """A reference, and where it stands below its job: a JSON Pointer."""

    place: str
    reference: Reference


class Links(Struct, frozen=True):
    """What a job refers to, rightly or not, and the numbers of the jobs that it waits for.

    These are those whose outputs it uses, and others that it comes after.
    """

    uses: tuple[Use, ...]
    needs: tuple[int, ...]
    after: tuple[int, ...]


def place_of(number: int, place: str = "") -> str:
    """Return the pointer of a job in a request, or of a place below it, as a URI fragment."""
    return f"#/jobs/{number}{quote(place, safe=SAFE)}"


def find_links(jobs: Sequence[WorkflowJobRequest], params: Mapping[str, Any], faults: Faults) -> list[Links]:
    """Return what each job refers to, noting names that are used twice or not there, and cycles."""
    numbers: dict[str, int] = {}
    for number, job in enumerate(jobs):
        if numbers.setdefault(job.name, number) != number:
            faults.add(place_of(number, "/name"), f"#/jobs/{numbers[job.name]} is named {job.name}, too")
    found: list[Links] = []
    for number, job in enumerate(jobs):
        if faults.enough:
            return found
        found.append(_Reader(number, job, numbers, params, faults).links())
    _check_cycle(jobs, found, faults)
    return found


def check_params_use(place: str, reference: Reference, params: Mapping[str, Any], faults: Faults) -> None:
    """Note that a reference leads to nothing in the params of the workflow."""
    if reference.source == PARAMS:
        try:
            pick(params, reference.path)
        except MissingOutputError as error:
            faults.add(place, f"{PARAMS}: {error}")


def uses_in(value: Any, place: str) -> Iterator[Use | tuple[str, InvalidReferenceError]]:
    """Yield the references in a value of a job, each with its place below the job."""
    for below, reference in references(value, place):
        yield Use(below, reference) if isinstance(reference, Reference) else (below, reference)


class _Reader:
    """Reads what one job refers to."""

    def __init__(
        self,
        number: int,
        job: WorkflowJobRequest,
        numbers: Mapping[str, int],
        params: Mapping[str, Any],
        faults: Faults,
    ) -> None:
        self._number = number
        self._job = job
        self._numbers = numbers
        self._params = params
        self._faults = faults

    def links(self) -> Links:
        """Return what the job refers to; what is wrong is noted."""
        uses: list[Use] = []
        needs: set[int] = set()
        for part in ("inputs", "for_each", "files_from"):
            value = getattr(self._job, part)
            try:
                found = [] if value is UNSET else list(uses_in(value, f"/{part}"))
            except RecursionError:
                self._add(f"/{part}", "It is nested too deeply")
                continue
            for use in found:
                if isinstance(use, Use):
                    uses.append(use)
                    self._check(use, needs)
                else:
                    self._add(use[0], str(use[1]))
        after: set[int] = set()
        for index, name in enumerate(self._job.after):
            number = self._job_named(name, f"/after/{index}")
            if number is not None:
                after.add(number)
        return Links(tuple(uses), tuple(sorted(needs)), tuple(sorted(after - needs)))

    def _check(self, use: Use, needs: set[int]) -> None:
        """Note what is wrong with a reference, as far as its source says; add the job that it needs."""
        source = use.reference.source
        if source == PARAMS:
            check_params_use(place_of(self._number, use.place), use.reference, self._params, self._faults)
        elif source in (ITEM, INDEX):
            self._check_item(use)
        elif source != LITERAL and (number := self._job_named(source, use.place)) is not None:
            needs.add(number)

    def _check_item(self, use: Use) -> None:
        source = use.reference.source
        if self._job.for_each is UNSET:
            self._add(use.place, f"{source} is of the items of `for_each`, which this job does not have")
        elif not use.place.startswith("/inputs"):
            self._add(use.place, f"{source} can stand in `inputs` alone")

    def _job_named(self, name: str, place: str) -> int | None:
        """Return the number of another job."""
        number = self._numbers.get(name)
        if number is None:
            near = list(self._numbers) if len(self._numbers) <= MAX_COMPARED else ()
            self._add(place, unknown("job", name, near))
        elif number == self._number:
            self._add(place, f"{name} would wait for itself")
            return None
        return number

    def _add(self, place: str, detail: str) -> None:
        self._faults.add(place_of(self._number, place), detail)


def _check_cycle(jobs: Sequence[WorkflowJobRequest], links: Sequence[Links], faults: Faults) -> None:
    cycle = find_cycle([(*one.needs, *one.after) for one in links])
    if not cycle:
        return
    names = [jobs[number].name for number in (*cycle, cycle[0])]
    if len(names) > MAX_SHOWN:
        names[MAX_SHOWN // 2 : -MAX_SHOWN // 2] = ["…"]
    faults.add(place_of(cycle[0]), f"The jobs wait for each other: {' -> '.join(names)}")
