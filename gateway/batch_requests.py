"""Requests for batches into commands: all that is wrong with them is told at once."""

from collections.abc import Mapping

from events.batch import STREAM, BatchDetails, OpenBatch
from events.formats import WITHOUT_OFFSETS, formats
from events.sources import Connection
from events.workflow import NO_PARAMS
from gateway.files import check_files
from gateway.options import check_options
from gateway.problems import Faults, unknown
from gateway.schemas import Schemas
from gateway.translate import Specs, chosen, packed
from rota.batch_protocol import BatchRequest
from rota.protocol import PayloadForm, RowsForm

FORMS: dict[RowsForm, PayloadForm] = {
    "arrow": "arrow",
    "dicts": "arrow",
    "json": "json",
    "messagepack": "messagepack",
}
"""How rows are stored, by the form in which a spec asks for them."""


def batch_command(
    request: BatchRequest,
    specs: Specs,
    schemas: Schemas,
    connections: Mapping[str, Connection],
    id_: str,
    *,
    in_workflow: bool = False,
) -> OpenBatch:
    """Return the command that opens the batch; InvalidRequestError or TooLargeError names all that is wrong.

    One that is a part of a workflow gets its params when it is opened, and maybe its files.
    """
    faults = Faults()
    if request.stream is None:
        _check_of_files(request, connections, faults, may_lack=in_workflow)
    else:
        _check_stream(request, faults)
    check_options(request.format, request.options, faults)
    if request.bad_rows == "fail":
        for name in ("bad_rows", "bad_rows_share"):
            if getattr(request.tolerance, name) is not None:
                faults.add(
                    f"#/tolerance/{name}",
                    "The first bad row fails the batch, unless bad_rows is skip or quarantine",
                )
    spec = specs.found.get(request.spec)
    if spec is None:
        faults.add("#/spec", unknown("spec", request.spec, specs.names))
        raise faults.refusal()
    if spec.rows is None:
        faults.add("#/spec", f"{spec.name} does not take rows; its handler needs a parameter for them")
    details = BatchDetails(
        spec=spec.name,
        queue=chosen(request.queue, spec.queue),
        files=tuple(request.files) if request.stream is None else (STREAM,),
        rows_per_job=request.rows_per_job,
        max_jobs_in_flight=request.max_jobs_in_flight,
        params=NO_PARAMS if in_workflow else packed(request, spec, schemas, "#", faults),
        connection=request.connection,
        format=request.format,
        options=request.options,
        retry=chosen(request.retry, spec.retry),
        timeout_seconds=chosen(request.timeout_seconds, spec.timeout_seconds),
        labels=request.labels,
        compression=request.compression if request.stream is None else request.compression or "none",
        selection=request.selection,
        bad_rows=request.bad_rows,
        # Which rows are passed over, or taken, is only known when the files before were read.
        max_readers=1 if request.first or request.limit else request.max_readers,
        bytes_per_job=request.bytes_per_job,
        seconds_per_job=request.seconds_per_job,
        first=request.first,
        limit=request.limit,
        form=FORMS[spec.rows or "arrow"],
        max_bytes_in_flight=request.max_bytes_in_flight,
        tolerance=request.tolerance,
        stream=request.stream,
        keeps_stream=request.stream is not None and _reads_again(request),
    )
    faults.check()
    return OpenBatch(id=id_, details=details)


def streamed_formats() -> list[str]:
    """Return the names of the formats that can be streamed in."""
    return sorted(name for name, format_ in formats().items() if format_.streamed)


def not_streamed(format_: str | None) -> str:
    """Say what is wrong with the format of a stream."""
    fault = f"{format_} cannot be read in pieces" if format_ else "A stream needs a format"
    return f"{fault}: one of {', '.join(streamed_formats())}"


def _reads_again(request: BatchRequest) -> bool:
    """Say whether a stream may have to be read again from its start: after a crash, or for its quarantined rows."""
    is_compressed = request.compression not in (None, "none")
    return is_compressed or request.format in WITHOUT_OFFSETS or request.bad_rows == "quarantine"


def _check_of_files(
    request: BatchRequest, connections: Mapping[str, Connection], faults: Faults, *, may_lack: bool
) -> None:
    if not request.files and not may_lack:
        faults.add("#/files", "There is no file. Name some, or give a `stream` and send the data")
    if request.seconds_per_job is not None:
        faults.add("#/seconds_per_job", "Only the rows of a `stream` have to wait for others")
    check_files(request, connections, faults)


def _check_stream(request: BatchRequest, faults: Faults) -> None:
    for name, empty in (("files", []), ("connection", None)):
        if getattr(request, name) != empty:
            faults.add(f"#/{name}", "Either Rota reads files, or the caller streams the data in")
    if request.format not in streamed_formats():
        faults.add("#/format", not_streamed(request.format))
    if request.rows_per_job is None and request.bytes_per_job is None:
        faults.add("#/bytes_per_job", "A stream needs rows_per_job or bytes_per_job: it may be larger than any job")
