"""Job definitions: a function becomes a kind of job, its annotations the schemas of its params and its result.

    @rota.job(queue="mail", retry=rota.RetryPolicy(max_attempts=5))
    async def send_mail(to: str, subject: str = "", *, context: rota.Context) -> str: ...

    @rota.job
    def load(rows: list[dict[str, Any]], table: str) -> int: ...

A job with a parameter `rows` works on the rows of batches, as dicts or as a `pyarrow.Table`.
"""

import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, get_type_hints, overload

import msgspec

from rota.protocol import JobDetails, RegisterSpec, RetryPolicy, Rows, RowsForm, Work

P = ParamSpec("P")
R = TypeVar("R")


class Context:
    """What a handler may know of its run; it gets one by a parameter annotated `rota.Context`."""

    def __init__(self, work: Work, delivery: int, report_progress: Callable[[float, str], None]) -> None:
        self.job_id: str = work.id
        self.attempt: int = work.attempt
        """Number of the attempt, from 1; a failed attempt is followed by the next."""
        self.delivery: int = delivery
        """How often this attempt was handed out, from 1; above 1, a worker was lost with it."""
        self.details: JobDetails = work.details
        self._report_progress = report_progress

    @property
    def rows(self) -> Rows | None:
        """Where the rows of a batch job came from: batch, file, numbers."""
        return self.details.rows

    def progress(self, percent: float, message: str = "") -> None:
        """Tell how far the job is, 0 to 100; reported about once a second. May be called from any thread."""
        self._report_progress(percent, message)


class Job(Generic[P, R]):
    """A kind of job: the handler, its spec, and the conversion of params. Calling it calls the handler."""

    def __init__(
        self,
        handler: Callable[P, R],
        *,
        name: str | None = None,
        queue: str = "default",
        retry: RetryPolicy | None = None,
        timeout_seconds: float | None = None,
        rows: RowsForm | None = None,
    ) -> None:
        self.handler = handler
        self.name = name or handler.__name__
        self.is_async = inspect.iscoroutinefunction(handler)
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        form: RowsForm | None = None
        self._context_name: str | None = None
        hints = get_type_hints(handler, include_extras=True)
        for parameter in inspect.signature(handler).parameters.values():
            annotation = hints.get(parameter.name, Any)
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                raise TypeError(
                    f"{self.name}: parameter {parameter} cannot be given by name; list each by its name"
                )
            if annotation is Context:
                self._context_name = parameter.name
            elif parameter.name == "rows":
                form = _rows_form(self.name, annotation, rows)
            elif parameter.default is parameter.empty:
                fields.append((parameter.name, annotation))
            else:
                fields.append((parameter.name, annotation, parameter.default))
        if rows and not form:
            raise TypeError(f"{self.name}: it has no parameter `rows` to take rows as {rows}")
        params = msgspec.defstruct(f"{self.name}_params", fields, kw_only=True, forbid_unknown_fields=True)
        self._names = params.__struct_fields__
        self._decoder = msgspec.msgpack.Decoder(params)
        self.spec = msgspec.convert(
            {
                "type": "spec.register",
                "id": self.name,
                "description": inspect.getdoc(handler) or "",
                "params_schema": _schema(params),
                "rows": form,
                "queue": queue,
                "retry": msgspec.to_builtins(retry or RetryPolicy()),
                "timeout_seconds": timeout_seconds,
                "result_schema": _result_schema(hints.get("return", Any)),
            },
            RegisterSpec,
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the handler, as if it were not a job."""
        return self.handler(*args, **kwargs)

    def arguments(self, params: msgspec.Raw, rows: Any, context: Context) -> dict[str, Any]:
        """Return the handler's keyword arguments; ValidationError of msgspec if the params do not fit."""
        decoded = self._decoder.decode(params)
        arguments = {name: getattr(decoded, name) for name in self._names}
        if self.spec.rows:
            arguments["rows"] = rows
        if self._context_name:
            arguments[self._context_name] = context
        return arguments


@overload
def job(handler: Callable[P, R], /) -> Job[P, R]: ...
@overload
def job(
    *,
    name: str | None = None,
    queue: str = "default",
    retry: RetryPolicy | None = None,
    timeout_seconds: float | None = None,
    rows: RowsForm | None = None,
) -> Callable[[Callable[P, R]], Job[P, R]]: ...
def job(handler: Callable[P, R] | None = None, /, **options: Any) -> Any:
    """Make a function a kind of job; the options are the defaults of its spec.

    `name` is the spec's name (default: the function's), `queue` where its jobs wait, `retry` the policy for
    failed attempts, `timeout_seconds` the limit of one attempt. `rows` is the form in which a batch's rows travel:
    `arrow` for a handler that takes a table, and for one that takes dicts `dicts` (by Arrow, with all its types),
    `json` or `messagepack`; if it is left out, the annotation of the parameter `rows` chooses `arrow` or `dicts`.
    """
    if handler is not None:
        return Job(handler)
    return lambda function: Job(function, **options)


def spec_name(spec: str | Job[..., Any]) -> str:
    """Return the name of a spec, or of a job's; TypeError if it is neither."""
    if isinstance(spec, str | Job):
        return spec if isinstance(spec, str) else spec.name
    raise TypeError(f"{spec!r} is no job: give the name of a spec, or a function with the decorator @rota.job")


def _rows_form(name: str, annotation: Any, wanted: RowsForm | None) -> RowsForm:
    table = getattr(annotation, "__module__", "").startswith("pyarrow") and annotation.__name__ == "Table"
    if wanted:
        if table and wanted != "arrow":
            raise TypeError(f"{name}: rows that are a pyarrow.Table come as arrow, not as {wanted}")
        return wanted
    if table:
        return "arrow"
    if annotation is list or getattr(annotation, "__origin__", None) is list:
        return "dicts"
    raise TypeError(f"{name}: rows must be annotated list[dict[str, Any]] or pyarrow.Table, not {annotation}")


def _schema(params: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the params' JSON Schema with the object itself at its top."""
    (_,), components = msgspec.json.schema_components([params], ref_template="#/$defs/{name}")
    schema: dict[str, Any] = components.pop(params.__name__)
    schema.pop("title", None)
    return schema | ({"$defs": components} if components else {})


def _result_schema(annotation: Any) -> dict[str, Any]:
    """Return the JSON Schema of what a handler returns; {} where its annotation says nothing, or nothing of use."""
    try:
        if annotation in (Any, None, type(None)):
            return {}
        (schema,), components = msgspec.json.schema_components([annotation], ref_template="#/$defs/{name}")
    except Exception:  # noqa: BLE001 - any type may be annotated, also one that msgspec cannot look into
        return {}
    return schema | ({"$defs": components} if components else {})
