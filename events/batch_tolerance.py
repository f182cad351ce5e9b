"""How much may go wrong with a batch: when it fails, and when it is not completed as it should be."""

from events.batch_state import BatchState
from rota.batch_protocol import SHARE_OF_JOBS, SHARE_OF_ROWS


def excess(state: BatchState, *, sealed: bool, ended: bool) -> str | None:
    """Return what went wrong more than is tolerated; `sealed`: all rows are known, `ended`: all jobs have ended."""
    tolerance = state.details.tolerance
    failed, jobs = state.failed, state.jobs_ended
    if tolerance.failed_jobs is not None and failed > tolerance.failed_jobs:
        return f"{failed} jobs ended without success, and failed_jobs tolerates {tolerance.failed_jobs}"
    share = tolerance.failed_jobs_share
    if share is not None and (jobs >= SHARE_OF_JOBS or ended) and failed > share * jobs:
        return f"{failed} of {jobs} jobs ended without success, and failed_jobs_share tolerates {share:g}"
    if tolerance.bad_rows is None and tolerance.bad_rows_share is None:
        return None
    mended = state.mended
    files = [file for index, file in enumerate(state.files) if index not in mended]
    bad = sum(file.left_out for file in files)
    if tolerance.bad_rows is not None and bad > tolerance.bad_rows:
        return f"{bad} rows cannot be read, and bad_rows tolerates {tolerance.bad_rows}"
    # Rows are told some time after the quarantined ones beside them: a share is of what is told together.
    bad = sum(max(file.bad, file.position.bad) for file in files)
    share, rows = tolerance.bad_rows_share, state.rows + bad
    if share is not None and (rows >= SHARE_OF_ROWS or sealed) and bad > share * rows:
        return f"{bad} of {rows} rows cannot be read, and bad_rows_share tolerates {share:g}"
    return None


def shortfall(state: BatchState) -> str:
    """Return what of an ended batch is not as it should be; nothing if all is."""
    parts = []
    if state.failed:
        parts.append(f"{state.failed} of {state.jobs} jobs ended without success")
    mended = state.mended
    if left := sum(file.quarantined for index, file in enumerate(state.files) if index not in mended):
        parts.append(f"{left} row{'s are' if left > 1 else ' is'} in quarantine")
    return "; ".join(parts)
