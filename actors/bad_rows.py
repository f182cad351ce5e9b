"""Bad rows as the batch keeps them: in messages that an event holds, each with its number among all rows."""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from actors.picker import number_of
from events.batch import FileFault, QuarantineRows

MAX_FAULTS_A_MESSAGE = 500
MAX_MESSAGE_CHARACTERS = 2000
MAX_TEXT_CHARACTERS = 500


def quarantine(batch: str, file_index: int, bad_before: int, bad: Sequence[FileFault]) -> Iterator[QuarantineRows]:
    """Yield what tells the batch of bad rows of a file, before which there were so many bad ones."""
    for start in range(0, len(bad), MAX_FAULTS_A_MESSAGE):
        before = bad_before + start
        faults = tuple(
            clipped(replace(fault, number=number_of(fault, before + index)))
            for index, fault in enumerate(bad[start : start + MAX_FAULTS_A_MESSAGE])
        )
        yield QuarantineRows(id=batch, file_index=file_index, bad_before=before, faults=faults)


def clipped(fault: FileFault) -> FileFault:
    """Return a fault that an event can hold, whatever stands in the file: not too long, and in UTF-8."""
    return replace(
        fault,
        message=_clip(fault.message, MAX_MESSAGE_CHARACTERS),
        column=fault.column and _clip(fault.column, MAX_TEXT_CHARACTERS),
        text=fault.text and _clip(fault.text, MAX_TEXT_CHARACTERS),
    )


def _clip(text: str, size: int) -> str:
    # A text of MessagePack, or a file's name, may have what no encoding has.
    text = text[: size + 1].encode(errors="backslashreplace").decode()
    return text if len(text) <= size else f"{text[: size - 1]}…"
