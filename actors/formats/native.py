"""Turns what native libraries raise over the bytes of a file into its fault."""

from collections.abc import Iterator
from contextlib import contextmanager

from actors.formats.block import BadRowError
from events.batch import FileFault
from rota.errors import RotaError

SHOWN_CHARACTERS = 500


@contextmanager
def faults_of(place: str, row: int) -> Iterator[None]:
    """Turn foreign errors into BadRowError: `place` begins its message, `row` is how many rows stand before.

    Broken bytes make these libraries raise nearly anything (KeyError, OverflowError, OSError, MemoryError ...).
    """
    try:
        yield
    except RotaError:
        raise
    except RecursionError as error:
        raise BadRowError(FileFault(f"{place}: it is nested too deeply", row=row)) from error
    except Exception as error:
        reason = str(error).split("\n", 1)[0][:SHOWN_CHARACTERS] or type(error).__name__
        raise BadRowError(FileFault(f"{place}: {reason}", row=row)) from error
