"""What follows when people pause, resume, change or cancel a batch, or want its results in a file."""

from typing import Any, assert_never

from events.base import EndedError, Event
from events.batch_control import (
    BatchCancelled,
    BatchCancelling,
    BatchChanged,
    BatchControl,
    BatchPaused,
    BatchResumed,
    CancelBatch,
    ChangeBatch,
    FinishCancel,
    PauseBatch,
    ResumeBatch,
)
from events.batch_results import (
    BatchCollection,
    CollectResults,
    FailResults,
    FinishResults,
    ResultsCollected,
    ResultsFailed,
    ResultsRequested,
)
from events.batch_state import BatchState
from rota.protocol import ENDED_BATCH


def steer(state: BatchState, command: BatchControl, facts: dict[str, Any]) -> list[Event]:
    """Return what follows; EndedError if the batch has ended in another way, or there is nothing left to pause."""
    match command:
        case FinishCancel():
            if state.status != "cancelling":
                return []
            counts: dict[str, Any] = {
                "jobs": command.jobs,
                "succeeded": command.succeeded,
                "failed": command.failed,
            }
            return [BatchCancelled(reason=state.reason, **counts, **facts)]
        case CancelBatch():
            if state.status in ("cancelling", "cancelled"):
                return []
            _check_at_work(state, command.id)
            return [BatchCancelling(reason=command.reason, **facts)]
        case PauseBatch():
            _check_at_work(state, command.id)
            if state.paused:
                return []
            if state.status != "reading":
                raise EndedError(
                    f"The batch {command.id} is {state.status}: no more jobs will be scheduled", batch=command.id
                )
            return [BatchPaused(reason=command.reason, **facts)]
        case ResumeBatch():
            _check_at_work(state, command.id)
            return [BatchResumed(**facts)] if state.paused else []
        case ChangeBatch():
            _check_at_work(state, command.id)
            names = ("max_jobs_in_flight", "max_bytes_in_flight", "max_readers", "tolerance")
            news = {
                name: value
                for name in names
                if (value := getattr(command, name)) not in (None, getattr(state.details, name))
            }
            return [BatchChanged(**news, **facts)] if news else []
        case _:
            assert_never(command)


def collect(state: BatchState, command: BatchCollection, facts: dict[str, Any]) -> list[Event]:
    """Return what follows: each collection begins once and ends once."""
    ended = state.collections.get(command.collection)
    match command:
        case CollectResults():
            if ended is not None:
                return []
            return [
                ResultsRequested(
                    collection=command.collection,
                    format=command.format,
                    connection=command.connection,
                    path=command.path,
                    origin_columns=command.origin_columns,
                    **facts,
                )
            ]
        case FinishResults():
            if ended is not False:
                return []
            return [ResultsCollected(collection=command.collection, manifest=command.manifest, **facts)]
        case FailResults():
            if ended is not False:
                return []
            return [ResultsFailed(collection=command.collection, reason=command.reason, **facts)]
        case _:
            assert_never(command)


def _check_at_work(state: BatchState, id_: str) -> None:
    if state.status in ENDED_BATCH or state.status == "cancelling":
        raise EndedError(f"The batch {id_} has ended: {state.status}", batch=id_)
