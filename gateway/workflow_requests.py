"""Requests for workflows into commands: all that is wrong with them is told at once."""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import replace

from events.batch import BatchDetails
from events.references import MAX_DEPTH, is_too_deep
from events.sources import Connection
from events.workflow import ScheduleWorkflow, WorkflowDetails, WorkflowJob
from gateway.batch_requests import batch_command
from gateway.problems import Faults, unknown
from gateway.results_requests import check_results
from gateway.schemas import Schemas
from gateway.translate import Specs, chosen, packed_value, packed_with_labels
from gateway.workflow_inputs import InputChecks
from gateway.workflow_links import Links, find_links, place_of
from gateway.workflow_outputs import output_of
from gateway.workflow_rules import check_cover, check_rules
from rota.batch_protocol import BatchRequest
from rota.errors import InvalidRequestError, TooLargeError
from rota.protocol import NIL, SpecView
from rota.workflow_protocol import WorkflowJobRequest, WorkflowRequest

OF_FAN_OUTS = ("max_parallel", "tolerated_failures", "tolerated_failures_share")
OF_BATCHES = {"files_from": "files", "results": "results"}
"""Fields that only a batch has."""
IN_BATCHES = {"queue": UNSET, "retry": UNSET, "timeout_seconds": UNSET, "labels": {}}
"""What a batch has itself, with what says nothing."""
FILES_LATER = ("files_from",)
"""Stands where the files of a batch are not known: it has one at least."""


def specs_of(jobs: Sequence[WorkflowJobRequest]) -> Iterator[str]:
    """Yield the names of the specs that jobs name."""
    for job in jobs:
        name = job.batch.spec if job.batch else job.spec
        if not isinstance(name, UnsetType):
            yield name


def workflow_command(
    request: WorkflowRequest, specs: Specs, schemas: Schemas, connections: Mapping[str, Connection], id_: str
) -> ScheduleWorkflow:
    """Return the command that schedules the workflow; InvalidRequestError or TooLargeError names what is wrong."""
    faults = Faults()
    params = packed_value("Params", request.params, "#/params", faults)
    links = find_links(request.jobs, request.params, faults)
    translation = _Translation(specs, schemas, connections, faults)
    found = [translation.spec(number, job) for number, job in enumerate(request.jobs)]
    outputs = {job.name: output_of(job, spec) for job, spec in zip(request.jobs, found, strict=True)}
    checks = InputChecks(schemas, request.params, outputs, faults)
    jobs: list[WorkflowJob] = []
    # Of a request that is wrong in many places there are links of the first jobs alone.
    for number, (job, one, spec) in enumerate(zip(request.jobs, links, found, strict=False)):
        if faults.enough:
            break
        _check_options(number, job, faults)
        check_rules(number, job, spec, schemas, faults)
        batch = translation.batch(number, job, job.batch) if job.batch else None
        checks.check(number, job, one, spec)
        if spec:
            jobs.append(translation.job(number, job, one, spec, batch))
    check_cover(request.jobs, links, faults)
    faults.check()
    details = WorkflowDetails(
        name=request.name,
        jobs=tuple(jobs),
        params=Raw(params),
        timeout_seconds=request.timeout_seconds,
        max_parallel=request.max_parallel,
        labels=request.labels,
    )
    return ScheduleWorkflow(id=id_, details=details)


class _Translation:
    """Makes the jobs of one workflow."""

    def __init__(
        self, specs: Specs, schemas: Schemas, connections: Mapping[str, Connection], faults: Faults
    ) -> None:
        self._specs = specs
        self._schemas = schemas
        self._connections = connections
        self._faults = faults

    def spec(self, number: int, job: WorkflowJobRequest) -> SpecView | None:
        """Return the spec of a job, noting that there is none for it; of a batch that is told with the batch."""
        place = place_of(number, "/spec")
        if job.batch:
            if job.spec is not UNSET:
                self._faults.add(place, "The batch names the spec of its jobs")
            return self._specs.found.get(job.batch.spec)
        if isinstance(job.spec, UnsetType):
            self._faults.add(place, "A job needs a `spec`, or a `batch`")
            return None
        spec = self._specs.found.get(job.spec)
        if spec is None and not self._faults.enough:
            self._faults.add(place, unknown("spec", job.spec, self._specs.names))
        if spec and spec.rows is not None:
            self._faults.add(place, f"{spec.name} works on the rows of a batch: give a `batch`")
        return spec

    def batch(self, number: int, job: WorkflowJobRequest, asked: BatchRequest) -> BatchDetails | None:
        """Return a batch as it is opened, but for its params and perhaps its files; None if it is wrong."""
        place = place_of(number, "/batch")
        if asked.stream is not None:
            self._faults.add(f"{place}/stream", "Nobody can send data to a batch of a workflow: name `files`")
        elif asked.files and job.files_from is not UNSET:
            self._faults.add(f"{place}/files", "They come from `files_from`")
        elif not asked.files and job.files_from is UNSET:
            self._faults.add(f"{place}/files", "There is no file. Name some, or give `files_from`")
        if asked.params:
            self._faults.add(f"{place}/params", "The params of the batch are the `inputs` of the job")
        if asked.key is not UNSET:
            self._faults.add(f"{place}/key", "A batch of a workflow has no key: the workflow may have one")
        if job.results:
            check_results(job.results, self._connections, place_of(number, "/results"), self._faults)
        asked = replace(asked, stream=None)
        try:
            command = batch_command(asked, self._specs, self._schemas, self._connections, "", in_workflow=True)
        except (InvalidRequestError, TooLargeError) as error:
            is_invalid = isinstance(error, InvalidRequestError)
            for problem in error.problems:
                add = self._faults.add if is_invalid else self._faults.add_too_large
                add(f"{place}{problem.pointer.removeprefix('#')}", problem.detail)
            return None
        files = command.details.files if job.files_from is UNSET else FILES_LATER
        return replace(command.details, files=files, results=job.results or None)

    def job(
        self, number: int, job: WorkflowJobRequest, links: Links, spec: SpecView, batch: BatchDetails | None
    ) -> WorkflowJob:
        """Return a job as it is scheduled."""

        def packed(what: str, name: str) -> Raw:
            value = getattr(job, name)
            if value is UNSET:
                return NIL
            return Raw(packed_value(what, value, place_of(number, f"/{name}"), self._faults))

        for name in ("inputs", "for_each", "files_from"):
            if is_too_deep(getattr(job, name)):
                said = f"Objects and lists are nested in it more than {MAX_DEPTH} times"
                self._faults.add(place_of(number, f"/{name}"), said)
        labels, place = batch.labels if batch else job.labels, place_of(number, "/inputs")
        return WorkflowJob(
            name=job.name,
            spec=spec.name,
            queue=batch.queue if batch else chosen(job.queue, spec.queue),
            inputs=packed_with_labels("Inputs", job.inputs, labels, place, self._faults),
            needs=links.needs,
            after=links.after,
            retry=chosen(job.retry, spec.retry),
            timeout_seconds=chosen(job.timeout_seconds, spec.timeout_seconds),
            waiting_timeout_seconds=job.waiting_timeout_seconds,
            total_timeout_seconds=job.total_timeout_seconds,
            on_timeout=job.on_timeout,
            on_failure=job.on_failure,
            defaults=packed("Defaults", "defaults"),
            labels=job.labels,
            for_each=packed("Items", "for_each"),
            max_parallel=job.max_parallel,
            tolerated_failures=job.tolerated_failures,
            tolerated_failures_share=job.tolerated_failures_share,
            batch=batch,
            files_from=packed("References", "files_from"),
        )


def _check_options(number: int, job: WorkflowJobRequest, faults: Faults) -> None:
    """Note fields that say nothing for such a job."""
    if job.for_each is UNSET:
        for name in OF_FAN_OUTS:
            if getattr(job, name) is not None:
                faults.add(place_of(number, f"/{name}"), "Only a fan-out has several runs: give `for_each`")
    if not job.batch:
        for name, what in OF_BATCHES.items():
            if getattr(job, name) is not UNSET:
                faults.add(place_of(number, f"/{name}"), f"Only a batch has {what}: give a `batch`")
        return
    if job.for_each is not UNSET:
        faults.add(place_of(number, "/for_each"), "A batch cannot be a fan-out: it is cut into jobs itself")
    if job.waiting_timeout_seconds is not None:
        said = "A batch waits for no worker, but its jobs do: there is total_timeout_seconds"
        faults.add(place_of(number, "/waiting_timeout_seconds"), said)
    for name, nothing in IN_BATCHES.items():
        if getattr(job, name) != nothing:
            faults.add(place_of(number, f"/{name}"), f"A batch has its own: give {name} in `batch`")
