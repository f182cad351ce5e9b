"""The jobs of a batch: commands that schedule the rows of one file."""

import json

import pyarrow as pa

from actors.cutter import Slice, too_large
from events.batch import BatchDetails
from events.batch_state import FileState
from events.catalog import encode
from events.ids import batch_job_id
from events.job import ScheduleJob
from events.subjects import rows_subject
from rota.errors import TooLargeError
from rota.protocol import JobDetails, Payload, Rows

MESSAGE_BYTES = 1024 * 1024
"""About the size of the messages that schedule jobs."""
MAX_COLUMNS_BYTES = 4096
"""As JSON; columns that take more are not among what a job knows of its rows."""


class BatchJobs:
    """Makes the jobs of one file, which is of this version and size."""

    def __init__(
        self,
        batch: str,
        details: BatchDetails,
        index: int,
        file: FileState,
        *,
        version: str | None,
        size: int | None,
    ) -> None:
        self._batch = batch
        self._details = details
        self._index = index
        self._path = file.path
        self._version, self._size = version, size
        self._columns: tuple[pa.Schema | None, dict[str, str]] = (None, {})
        each = len(details.params) + len(encode(details.labels)) + len(file.path)
        self.at_once = max(1, MESSAGE_BYTES // (each + MAX_COLUMNS_BYTES // 4))
        """Jobs that are sent together: they share a message, and each has the batch's params in it."""

    def make(self, one: Slice) -> ScheduleJob:
        """Return the job with these rows."""
        details = self._details
        subject = rows_subject(self._batch, self._index, one.index, one.sha256)
        rows = Rows(
            batch=self._batch,
            file=self._path,
            file_index=self._index,
            index=one.index,
            first_row=one.first_row,
            count=one.count,
            payload=Payload(subject, one.body.size, one.sha256),
            form=details.form,
            version=self._version,
            size=self._size,
            columns=self._named(one.schema),
        )
        return ScheduleJob(
            id=batch_job_id(self._batch, self._index, one.index),
            details=JobDetails(
                spec=details.spec,
                queue=details.queue,
                params=details.params,
                retry=details.retry,
                timeout_seconds=details.timeout_seconds,
                labels=details.labels,
                rows=rows,
            ),
        )

    def check_size(self, one: Slice, limit: int) -> None:
        """Raise TooLargeError if a message cannot hold these rows."""
        if one.body.size > limit:
            raise TooLargeError(f"{self._path}, {too_large(one.first_row, one.count, one.body.size, limit)}")

    def _named(self, schema: pa.Schema) -> dict[str, str]:
        """Return the types of columns by their names; jobs of one block share the schema."""
        if schema is not self._columns[0]:
            self._columns = (schema, named_columns(schema))
        return self._columns[1]


def named_columns(schema: pa.Schema) -> dict[str, str]:
    """Return Arrow's types of the columns by their names, or nothing if that takes more than MAX_COLUMNS_BYTES."""
    if len(schema) > MAX_COLUMNS_BYTES:
        return {}
    named = {field.name: str(field.type) for field in schema}
    return named if len(json.dumps(named, ensure_ascii=False).encode()) <= MAX_COLUMNS_BYTES else {}
