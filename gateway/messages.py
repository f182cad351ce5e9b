"""The bodies of requests and answers that the gateway adds to those that the SDK knows."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from rota.batch_protocol import ChangeRequest, Count, RedriveRequest, ResultsRequest, ResultsView
from rota.protocol import Id, JobFault, JobStatus, RegisterSpec, SpecView
from rota.workflow_protocol import RerunRequest

WaitSeconds = Annotated[float, Meta(ge=0, le=60)]
PageLimit = Annotated[int, Meta(ge=1, le=1000)]


class IdRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which job, batch or workflow."""

    id: Id


class ResultRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which job, and how many seconds to wait for its end."""

    id: Id
    wait: WaitSeconds = 0


class CancelJobRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which job is not to run any more, and why."""

    id: Id
    reason: str = ""


class PauseRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Why no more jobs are to be scheduled."""

    reason: str = ""


class PauseBatchRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which batch is to schedule no more jobs for now, and why."""

    id: Id
    reason: str = ""


class CancelBatchRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which batch is to be stopped with its jobs, and why."""

    id: Id
    reason: str = ""


class ChangeBatchRequest(ChangeRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which batch is to go on with which other limits; what is left out stays as it is."""

    id: Id


class RedriveBatchRequest(RedriveRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which batch is to go on that had ended, and how; what is left out stays as it was."""

    id: Id


class PauseWorkflowRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which workflow is to start no more jobs for now, and why."""

    id: Id
    reason: str = ""


class CancelWorkflowRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which workflow is to be stopped with all that runs of it, and why."""

    id: Id
    reason: str = ""


class RerunWorkflowRequest(RerunRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which workflow is to run again as another one; params that are left out stay as they were."""

    id: Id


class RowRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which row of which file of a batch; the file may be left out where there is but one."""

    id: Id
    row: Count
    file: str | None = None


class BadRowsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which quarantined rows of a batch; `after` is the `next` of the page before."""

    id: Id
    file: str | None = None
    limit: PageLimit = 100
    after: str | None = None


class CollectRequest(ResultsRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of which batch the results are wanted, and as which file."""

    id: Id


class CollectionsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Of which batch the collections of results are wanted, and how many of them."""

    id: Id
    limit: PageLimit = 100


class CollectionRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which collection of a batch's results."""

    id: Id
    collection: Id


class SpecRequest(RegisterSpec, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="spec.register"):
    """A spec to be made known: the command `spec.register`, whose `type` may be left out."""


class NoRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing needs to be said."""


class CommandResponse(Struct, frozen=True):
    """What became of a command: `done`, or `accepted` if it is stored and nobody has answered by now."""

    id: str
    status: Literal["accepted", "done"]


class JobResult(Struct, frozen=True, kw_only=True):
    """How a job has ended, if it has: with a `result` if it succeeded, else with an `error`."""

    id: str
    status: JobStatus
    result: Any | UnsetType = UNSET
    error: JobFault | UnsetType = UNSET


class ResultsList(Struct, frozen=True):
    """Collections of a batch's results, newest first; their manifests count jobs, and name none."""

    results: list[ResultsView]


class SpecList(Struct, frozen=True):
    """All specs, by name."""

    specs: list[SpecView]
