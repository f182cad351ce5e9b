"""A file that is there whole or not at all, however it is written."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rota.errors import InvalidRequestError


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file in place of the one that is there; if the block fails, nothing has changed.

    InvalidRequestError if it cannot be written.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
