"""The search for the files of a batch within a short time, with the sizes that can be told of them."""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from fsspec import AbstractFileSystem

from actors.file_head import within
from actors.sources.errors import SourceError
from actors.sources.registry import file_system, full_path
from actors.sources.walk import walk
from events.batch import BatchDetails
from events.sources import Connection
from rota.errors import NotFoundError, TooLargeError

SEARCH_SECONDS = 10.0
ASK_SECONDS = 3.0
ASKED = 50
"""Files of which no listing tells the size, and that are asked for it one by one, at most."""

log = logging.getLogger("rota.dry_run")


class FileSearch:
    """Finds the files of one batch, as its reader would."""

    def __init__(self, source: Connection | None, details: BatchDetails) -> None:
        self._source = source
        self._details = details
        self._found: list[str] = []
        self._sizes: dict[str, int | None] = {}
        """By full paths."""
        self._given_up = threading.Event()
        self._failure: str | None = None
        self.error: str | None = None
        """Why there are no files, too many, or not all of them."""

    def paths(self) -> list[str]:
        """Return the files that are found within SEARCH_SECONDS."""
        details = self._details
        in_time = within(SEARCH_SECONDS, self._search, "look for files")
        self._given_up.set()
        found = list(self._found)
        if not in_time:
            self.error = (
                f"{len(found)} files were found within {SEARCH_SECONDS:g} s, and it is not known whether these are "
                "all; a batch would have all the time that it takes"
            )
        elif self._failure is not None:
            self.error = self._failure
        elif not found and not details.selection.allow_empty:
            self.error = (
                f"There is no file at {', '.join(details.files)}; allow_empty would make it a batch without rows"
            )
        return found

    def sizes(self, paths: Sequence[str]) -> list[int | None]:
        """Return the sizes of files, as far as the listings or their servers tell them within ASK_SECONDS."""
        full = [full_path(self._source, path) for path in paths]
        unknown = [path for path in full if self._sizes.get(path) is None]
        if 0 < len(unknown) <= ASKED:
            until = time.monotonic() + ASK_SECONDS
            within(ASK_SECONDS, lambda: self._ask(unknown, until), "ask for sizes")
        return [self._sizes.get(path) for path in full]

    def _search(self) -> None:
        try:
            files = _Noted(file_system(self._source), self._sizes, self._given_up)
            root = full_path(self._source, "")
            for path in walk(files, root, self._details.files, self._details.selection):
                self._found.append(path)
        except (SourceError, NotFoundError, TooLargeError) as error:
            self._failure = str(error)
        except Exception as error:
            log.exception("the files of a dry run cannot be found")
            self._failure = f"The files cannot be found: {type(error).__name__}"

    def _ask(self, paths: Sequence[str], until: float) -> None:
        files = file_system(self._source)
        for path in paths:
            if time.monotonic() >= until:
                return
            try:
                self._sizes[path] = files.info(path).get("size")
            except Exception as error:  # noqa: BLE001 - each file system has its own; without a size there is no estimate
                log.info("the size of a file is not known: %s", type(error).__name__)
                return


class _Noted:
    """A file system that notes the sizes in the listings of its directories, and lists no more when told so."""

    def __init__(self, files: AbstractFileSystem, sizes: dict[str, int | None], given_up: threading.Event) -> None:
        self._files = files
        self._sizes = sizes
        self._given_up = given_up

    def ls(self, path: str, *, detail: bool) -> list[dict[str, Any]]:
        """Return what lies in a directory."""
        if self._given_up.is_set():
            raise SourceError("The search takes too long")
        infos: list[dict[str, Any]] = self._files.ls(path, detail=detail)
        for info in infos:
            name = info["name"].rstrip("/").rpartition("/")[2]
            self._sizes[f"{path.rstrip('/')}/{name}"] = info.get("size")
        return infos

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)
