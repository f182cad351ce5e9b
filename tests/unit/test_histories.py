"""Which events may follow the end of a job, batch or workflow in the log."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from events.batch import (
    BatchCompleted,
    BatchCompletedWithFailures,
    BatchDetails,
    BatchFailed,
    BatchOpened,
    BatchRedriven,
    BatchSealed,
)
from events.batch_control import BatchCancelled, BatchCancelling, BatchPaused
from events.batch_results import ResultsCollected, ResultsFailed, ResultsRequested
from events.catalog import KINDS, encode
from events.job import JobCancelled, JobFailed, JobQueued, JobRedriven, JobSucceeded, JobTimedOut
from events.subjects import event_subject
from events.workflow import (
    WorkflowCancelled,
    WorkflowDetails,
    WorkflowFailed,
    WorkflowFallbackApplied,
    WorkflowJob,
    WorkflowJobFailed,
    WorkflowJobReleased,
    WorkflowJobSucceeded,
    WorkflowJobTimedOut,
    WorkflowPartlyFailed,
    WorkflowPaused,
    WorkflowRetried,
    WorkflowScheduled,
    WorkflowStopping,
    WorkflowSucceeded,
)
from projections.histories import Histories
from projections.prefix import Stored
from rota.batch_protocol import FailedJobs, Manifest
from rota.protocol import JobDetails, JobFault, Result

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PARAMS = msgspec.Raw(encode({}))
MANIFEST = Manifest(batch="x", spec="s", format="ods", jobs={}, rows=0, size=0, sha256="")

FIELDS: dict[Any, dict[str, Any]] = {
    BatchCancelled: {"jobs": 0, "succeeded": 0, "failed": 0},
    BatchCompleted: {"succeeded": 0, "failed": 0},
    BatchCompletedWithFailures: {"succeeded": 0, "failed": 1, "reason": "one"},
    BatchFailed: {"reason": "no"},
    BatchOpened: {
        "details": BatchDetails(
            spec="s", queue="q", files=("a",), rows_per_job=1, max_jobs_in_flight=1, params=PARAMS
        )
    },
    BatchRedriven: {"jobs": FailedJobs()},
    BatchSealed: {"rows": 0, "jobs": 0},
    JobCancelled: {"attempt": 1},
    JobFailed: {"attempt": 1, "worker": "w", "started_at": NOW, "fault": JobFault("E", "no")},
    JobQueued: {"attempt": 1, "details": JobDetails(spec="s", queue="q", params=PARAMS)},
    JobRedriven: {"redrive": 1},
    JobSucceeded: {"attempt": 1, "worker": "w", "started_at": NOW, "result": Result()},
    JobTimedOut: {"attempt": 1, "worker": "w", "started_at": NOW, "fault": JobFault("E", "late")},
    ResultsCollected: {"collection": "c", "manifest": MANIFEST},
    ResultsFailed: {"collection": "c", "reason": "no"},
    ResultsRequested: {"collection": "c", "format": "ods"},
    WorkflowFallbackApplied: {"job": 0},
    WorkflowJobFailed: {"job": 0, "fault": JobFault("E", "no")},
    WorkflowJobReleased: {"job": 0},
    WorkflowJobSucceeded: {"job": 0},
    WorkflowJobTimedOut: {"job": 0, "limit": "total", "fault": JobFault("E", "late")},
    WorkflowRetried: {"retry": 1},
    WorkflowScheduled: {
        "details": WorkflowDetails(
            "w", (WorkflowJob("a", "s", "q", PARAMS, on_timeout="use_defaults", defaults=msgspec.Raw(b"\xc0")),)
        )
    },
    WorkflowStopping: {"outcome": "cancelled"},
}


def faults(folder: Path, *types: Any, at_once: bool = False) -> list[str]:
    """Return what is wrong with a history of such events."""
    events = [
        type_(originator_id="x", originator_version=version, at=NOW, **FIELDS.get(type_, {}))
        for version, type_ in enumerate(types, start=1)
    ]
    stored = [Stored(sequence, event_subject(event), event) for sequence, event in enumerate(events, start=1)]
    with closing(Histories(folder / "histories.sqlite")) as histories:
        found = list(histories.check(stored)) if at_once else [x for one in stored for x in histories.check([one])]
        found += histories.finish(lambda *_: True)
    assert {KINDS[type(event)] for event in events} <= {"batch", "job", "workflow"}
    return [fault.detail for fault in found]


COLLECTED = (ResultsRequested, ResultsCollected, ResultsRequested, ResultsFailed)
BEGUN = (WorkflowScheduled, WorkflowJobReleased)
RUNS_ON = (*BEGUN, WorkflowJobTimedOut, WorkflowFallbackApplied, WorkflowSucceeded)
"""A workflow for which defaults stand for a job."""


@pytest.mark.parametrize(
    "types",
    [
        (BatchOpened, BatchFailed, BatchRedriven, BatchSealed, BatchCompleted),
        (BatchOpened, BatchSealed, BatchCompletedWithFailures, BatchRedriven, BatchCompleted, *COLLECTED),
        (BatchOpened, BatchSealed, BatchCompletedWithFailures, *COLLECTED, BatchRedriven, BatchFailed, *COLLECTED),
        (BatchOpened, BatchCancelling, BatchCancelled, *COLLECTED),
        (JobQueued, JobFailed, JobRedriven, JobQueued, JobSucceeded),
        (JobQueued, JobTimedOut, JobRedriven, JobQueued, JobCancelled, JobRedriven, JobQueued),
        (*BEGUN, WorkflowJobFailed, WorkflowFailed, WorkflowRetried, *BEGUN[1:], WorkflowJobSucceeded),
        (*BEGUN, WorkflowJobFailed, WorkflowPartlyFailed, WorkflowRetried),
        (WorkflowScheduled, WorkflowStopping, WorkflowCancelled, WorkflowRetried, WorkflowPaused),
        (*RUNS_ON, WorkflowJobSucceeded),
        (*RUNS_ON, WorkflowJobFailed),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_what_may_go_on_after_its_end_does_so_without_a_fault(tmp_path: Path, types: Any, *, at_once: bool) -> None:
    assert faults(tmp_path, *types, at_once=at_once) == []


@pytest.mark.parametrize(
    "types",
    [
        (BatchOpened, BatchSealed, BatchCompleted, BatchRedriven),
        (BatchOpened, BatchCancelling, BatchCancelled, BatchRedriven),
        (BatchOpened, BatchFailed, BatchPaused),
        (JobQueued, JobSucceeded, JobRedriven),
        (JobQueued, JobFailed, JobQueued),
        (JobQueued, JobSucceeded, JobCancelled),
        (*BEGUN, WorkflowJobSucceeded, WorkflowSucceeded, WorkflowRetried),
        (*BEGUN, WorkflowJobSucceeded, WorkflowSucceeded, WorkflowJobSucceeded),
        (*BEGUN, WorkflowJobFailed, WorkflowFailed, WorkflowPaused),
        (*RUNS_ON, WorkflowJobReleased),
        (*RUNS_ON, WorkflowJobSucceeded, WorkflowJobFailed),
    ],
)
def test_other_events_after_an_end_are_a_fault(tmp_path: Path, types: Any) -> None:
    [fault] = faults(tmp_path, *types)
    assert fault.endswith(f"version {len(types)} comes after its end")
