"""The one tree of errors that client, worker and server share.

RotaError
├── InvalidRequestError   400  mend the request; `problems` names each place
├── NotFoundError         404  the id or name is not known
├── ConflictError         409  the thing is no longer in a state that allows this
├── TooLargeError         413  send less at a time
├── KeyReusedError        422  another request had this idempotency key: use another key
├── UnavailableError      503  try again later; nothing was done, or it is not known
├── JobFailedError        -    the job that was waited for did not succeed
├── GiveUpError           -    raised by a handler: another attempt would not help
└── IncompatibleError     -    a server or stream is not what Rota needs; the text says what to do
"""

from typing import Any, ClassVar

from msgspec import Struct


class Problem(Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong, and where.

    `pointer` is a JSON pointer into the request body as a URI fragment (RFC 6901), for example
    `#/jobs/3/params/a`.
    """

    detail: str
    pointer: str = "#"


class RotaError(Exception):
    """What all errors of Rota have in common.

    `status` is the HTTP status, `slug` the last part of the problem type's URI.
    """

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Rota met a fault of its own"

    def __init__(self, detail: str, *, problems: list[Problem] | None = None, **facts: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.problems = problems or []
        self.facts = facts


class InvalidRequestError(RotaError):
    """The request cannot be carried out as it stands; each of `problems` names a place in it."""

    status = 400
    slug = "invalid-request"
    title = "The request is not valid"

    def __str__(self) -> str:
        places = [f"{problem.pointer}: {problem.detail}" for problem in self.problems]
        return "\n  ".join([self.detail, *places])


class NotFoundError(RotaError):
    """No such job, batch or spec."""

    status = 404
    slug = "not-found"
    title = "There is no such thing"


class ConflictError(RotaError):
    """The thing has moved on and does not allow this any more."""

    status = 409
    slug = "conflict"
    title = "The state does not allow this"


class TooLargeError(RotaError):
    """The request is larger than a limit, which `detail` names."""

    status = 413
    slug = "too-large"
    title = "The request is too large"


class KeyReusedError(RotaError):
    """The idempotency key stands for another request; each of `problems` names what was another one."""

    status = 422
    slug = "key-reused"
    title = "The idempotency key stands for another request"


class UnavailableError(RotaError):
    """A part of Rota cannot be reached; repeat the request."""

    status = 503
    slug = "unavailable"
    title = "A part of Rota cannot be reached"


class JobFailedError(RotaError):
    """The job ended without success; `facts` has its `job`, `status` and `error`."""

    slug = "job-failed"
    title = "The job did not succeed"


class GiveUpError(RotaError):
    """Raise it in a handler to fail the job at once, whatever retries are left."""

    slug = "gave-up"
    title = "The job gave up"


class IncompatibleError(RotaError):
    """A server or a stream is not what Rota needs."""

    slug = "incompatible"
    title = "Something is not as Rota needs it"


BY_SLUG: dict[str, type[RotaError]] = {
    error.slug: error
    for error in (
        ConflictError,
        InvalidRequestError,
        KeyReusedError,
        NotFoundError,
        TooLargeError,
        UnavailableError,
    )
}
