"""The fallbacks of a requested workflow: which rules use defaults, and whether these stand for an output."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from jsonschema_rs import Draft202012Validator, ValidationError
from msgspec import UNSET

from events.references import MissingOutputError, pick
from gateway.pointers import pointer
from gateway.problems import MAX_FAULTS, Faults
from gateway.schemas import MAX_DETAIL, BrokenSchemaError, Schemas
from gateway.workflow_links import Links, place_of
from gateway.workflow_outputs import batch_output
from rota.protocol import SpecView
from rota.workflow_protocol import WorkflowJobRequest

RULES = ("on_timeout", "on_failure")


def check_rules(
    number: int, job: WorkflowJobRequest, spec: SpecView | None, schemas: Schemas, faults: Faults
) -> None:
    """Note defaults that are missing, of no use, or no output of such a job."""

    def errors(value: Any) -> Iterator[ValidationError]:
        """Yield where a value is no output of the job, or of a run of it."""
        if job.batch:
            yield from Draft202012Validator(batch_output(job)).iter_errors(value)
        elif spec:
            yield from schemas.errors(spec, "result", value)

    using = [rule for rule in RULES if getattr(job, rule) == "use_defaults"]
    if job.defaults is UNSET:
        for rule in using:
            faults.add(place_of(number, f"/{rule}"), "use_defaults needs `defaults`")
    elif not using:
        said = "No rule uses them: on_timeout or on_failure has to be use_defaults"
        faults.add(place_of(number, "/defaults"), said)
    elif job.for_each is UNSET:
        _check_output(place_of(number, "/defaults"), errors(job.defaults), faults)
    elif not isinstance(job.defaults, list):
        faults.add(place_of(number, "/defaults"), "The output of a fan-out is a list")
    else:
        for index, one in enumerate(job.defaults):
            # As with runs that fail and are tolerated, null may stand for what is not there.
            if one is not None and not faults.enough:
                _check_output(place_of(number, f"/defaults/{index}"), errors(one), faults)


def check_cover(jobs: Sequence[WorkflowJobRequest], links: Sequence[Links], faults: Faults) -> None:
    """Note defaults that have not all that other jobs use of the output."""
    numbers = {job.name: number for number, job in reversed(list(enumerate(jobs)))}
    for user, one in enumerate(links):
        for use in one.uses:
            number = numbers.get(use.reference.source)
            if number is None or jobs[number].defaults is UNSET:
                continue
            try:
                pick(jobs[number].defaults, use.reference.path)
            except MissingOutputError as error:
                faults.add(place_of(number, "/defaults"), f"{error}, and {place_of(user, use.place)} uses it")


def _check_output(place: str, errors: Iterator[ValidationError], faults: Faults) -> None:
    """Note what is wrong with what stands for an output."""
    try:
        for error in islice(errors, MAX_FAULTS):
            faults.add(f"{place}{pointer(error.instance_path)}", error.message[:MAX_DETAIL])
    except BrokenSchemaError:
        return  # then nothing is known of what it returns
    except ValueError as too_deep:
        faults.add(place, f"The defaults cannot be checked: {too_deep}")
