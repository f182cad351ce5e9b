"""The bodies of requests and answers that the gateway adds to those that the SDK knows."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from rota.batch_protocol import RedriveRequest
from rota.protocol import Id, JobFault, JobStatus, RegisterSpec, SpecView

WaitSeconds = Annotated[float, Meta(ge=0, le=60)]


class IdRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which job or batch."""

    id: Id


class ResultRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which job, and how many seconds to wait for its end."""

    id: Id
    wait: WaitSeconds = 0


class CancelJobRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which job is not to run any more, and why."""

    id: Id
    reason: str = ""


class RedriveBatchRequest(RedriveRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which failed batch is to be read on, and how; what is left out stays as it was."""

    id: Id


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


class SpecList(Struct, frozen=True):
    """All specs, by name."""

    specs: list[SpecView]
