"""Ids of what a workflow starts: they follow from its own id, so that nothing is started twice.

Its jobs begin with `<workflow>-`: they share its partition, so that the shard that hears of one's end owns both.
"""

COLLECTION = "workflow-"
"""What the ids of collections of results begin with that workflows ask for."""


def job_id(workflow: str, job: int, run: int | None = None) -> str:
    """Return the id of a job of a workflow, or of a run of a fan-out."""
    return f"{workflow}-{job}" if run is None else f"{workflow}-{job}-{run}"


def batch_id(workflow: str, job: int, opened: int) -> str:
    """Return the id of a batch of a workflow, given the retry of the workflow in which it was opened.

    Its jobs are spread over all partitions, as those of any batch.
    """
    return f"{workflow}_{job}" if not opened else f"{workflow}_{job}r{opened}"
