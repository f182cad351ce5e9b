"""What can be asked of batches over NATS: each request and its answer."""

from collections.abc import Mapping

from gateway.bad_rows import list_bad_rows
from gateway.batch_operations import (
    cancel_batch,
    change_batch,
    open_batch,
    pause_batch,
    redrive_batch,
    resume_batch,
)
from gateway.calls import Call, Operation, without_id
from gateway.dry_runs import dry_run_batch
from gateway.lookup import find_batch, find_row
from gateway.messages import (
    BadRowsRequest,
    CancelBatchRequest,
    ChangeBatchRequest,
    CollectionRequest,
    CollectionsRequest,
    CollectRequest,
    CommandResponse,
    IdRequest,
    PauseBatchRequest,
    RedriveBatchRequest,
    ResultsList,
    RowRequest,
)
from gateway.results import collect_results, find_results, list_results
from gateway.stream_operations import append, data, seal
from rota.batch_protocol import (
    AppendRequest,
    BadRowList,
    BatchRequest,
    BatchResponse,
    BatchView,
    ChangeRequest,
    CollectionResponse,
    DataView,
    DryRunView,
    RedriveRequest,
    ResultsRequest,
    ResultsView,
    RowView,
)


async def _open_batch(call: Call) -> BatchResponse:
    """Open a batch; when its id is answered, its files will be read."""
    request = call.read(BatchRequest)
    call.check("#/params", request.params)
    return BatchResponse(await open_batch(call.edge, request, call.asker))


async def _get_batch(call: Call) -> BatchView:
    """Answer a batch with its counts; an id that was given out is always known."""
    return await find_batch(call.edge, call.read(IdRequest).id)


async def _dry_run(call: Call) -> DryRunView:
    """Answer what a batch would be; nothing is started."""
    request = call.read(BatchRequest)
    call.check("#/params", request.params)
    return await dry_run_batch(call.edge, request, call.asker)


async def _append(call: Call) -> DataView:
    """Store bytes of a stream, and answer how much of it is durable; what is sent twice counts once."""
    return await append(call.edge, call.read(AppendRequest), call.asker)


async def _seal(call: Call) -> DataView:
    """Say that a stream ends with what is durable."""
    return await seal(call.edge, call.read(IdRequest).id, call.asker)


async def _data(call: Call) -> DataView:
    """Answer how much of a stream is durable: from there on its sender goes on."""
    return await data(call.edge, call.read(IdRequest).id)


async def _pause_batch(call: Call) -> CommandResponse:
    """Have a batch schedule no more jobs until it is resumed, and answer what became of that."""
    request = call.read(PauseBatchRequest)
    return await pause_batch(call.edge, request.id, request.reason, call.asker)


async def _resume_batch(call: Call) -> CommandResponse:
    """Let a paused batch go on, and answer what became of that."""
    return await resume_batch(call.edge, call.read(IdRequest).id, call.asker)


async def _change_batch(call: Call) -> CommandResponse:
    """Let a batch go on with other limits, and answer what became of that."""
    request = call.read(ChangeBatchRequest)
    return await change_batch(call.edge, request.id, without_id(request, ChangeRequest), call.asker)


async def _cancel_batch(call: Call) -> CommandResponse:
    """Stop a batch with its jobs, and answer what became of that."""
    request = call.read(CancelBatchRequest)
    return await cancel_batch(call.edge, request.id, request.reason, call.asker)


async def _redrive_batch(call: Call) -> CommandResponse:
    """Let a batch go on that had ended, and answer what became of that."""
    request = call.read(RedriveBatchRequest)
    return await redrive_batch(call.edge, request.id, without_id(request, RedriveRequest), call.asker)


async def _find_row(call: Call) -> RowView:
    """Answer which job of a batch had a row, and what became of it."""
    request = call.read(RowRequest)
    return await find_row(call.edge, request.id, request.file, request.row)


async def _list_bad_rows(call: Call) -> BadRowList:
    """Answer a page of a batch's quarantined rows."""
    request = call.read(BadRowsRequest)
    return await list_bad_rows(call.edge, request.id, file=request.file, limit=request.limit, after=request.after)


async def _collect(call: Call) -> CollectionResponse:
    """Have the results of a batch written into a file, and answer the id of that collection."""
    request = call.read(CollectRequest)
    asked = without_id(request, ResultsRequest)
    return CollectionResponse(await collect_results(call.edge, request.id, asked, call.asker))


async def _list_results(call: Call) -> ResultsList:
    """Answer the newest collections of a batch's results."""
    request = call.read(CollectionsRequest)
    return ResultsList(await list_results(call.edge, request.id, request.limit))


async def _find_results(call: Call) -> ResultsView:
    """Answer how far a collection of results is, with the manifest of the file that it has become."""
    request = call.read(CollectionRequest)
    return await find_results(call.edge, request.id, request.collection)


BATCH_OPERATIONS: Mapping[str, Operation] = {
    "batch.append": Operation(_append, AppendRequest, DataView, bounded=False),
    "batch.bad_rows": Operation(_list_bad_rows, BadRowsRequest, BadRowList),
    "batch.cancel": Operation(_cancel_batch, CancelBatchRequest, CommandResponse),
    "batch.change": Operation(_change_batch, ChangeBatchRequest, CommandResponse),
    "batch.data": Operation(_data, IdRequest, DataView),
    "batch.dry_run": Operation(_dry_run, BatchRequest, DryRunView, waits=True),
    "batch.get": Operation(_get_batch, IdRequest, BatchView),
    "batch.open": Operation(_open_batch, BatchRequest, BatchResponse),
    "batch.pause": Operation(_pause_batch, PauseBatchRequest, CommandResponse),
    "batch.redrive": Operation(_redrive_batch, RedriveBatchRequest, CommandResponse),
    "batch.results": Operation(_collect, CollectRequest, CollectionResponse),
    "batch.results_list": Operation(_list_results, CollectionsRequest, ResultsList),
    "batch.results_of": Operation(_find_results, CollectionRequest, ResultsView),
    "batch.resume": Operation(_resume_batch, IdRequest, CommandResponse),
    "batch.row": Operation(_find_row, RowRequest, RowView),
    "batch.seal": Operation(_seal, IdRequest, DataView),
}
