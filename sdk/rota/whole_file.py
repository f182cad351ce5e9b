"""A file that is there whole or not at all, however it is written."""

import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from rota.errors import InvalidRequestError

STDOUT = Path("-")


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file in place of the one that is there; if the block fails, nothing has changed.

    What a symbolic link leads to is written, and the link stays. What is there and is no regular file, as a pipe or
    a device, is written into when the block has ended, and so is stdout, which is called `-`. InvalidRequestError
    if it cannot be written.
    """
    try:
        with _passed_on(path) if is_passed_on(path) else _replaced(Path(os.path.realpath(path))) as file:
            yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be written: {error.strerror or error}") from error


def is_stdout(path: Path) -> bool:
    """Say whether what is written there comes out where a program prints."""
    if path == STDOUT:
        return True
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):
        return False


def is_passed_on(path: Path) -> bool:
    """Say whether something is written into, and not a file in its place."""
    if is_stdout(path):
        return True
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


@contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _passed_on(path: Path) -> Iterator[IO[bytes]]:
    # A directory is refused before anything is done.
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory")
    with TemporaryFile() as file:
        yield file
        file.seek(0)
        # stdout is not opened anew: it may be a file that is written on at its end.
        with open(sys.stdout.fileno(), "wb", closefd=False) if is_stdout(path) else path.open("wb") as target:
            shutil.copyfileobj(file, target)
