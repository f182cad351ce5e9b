"""What is wrong with where a file of results is to be written."""

from collections.abc import Mapping

from events.file_paths import ADDRESS
from events.sources import Connection, steps_up
from gateway.problems import Faults, unknown
from rota.batch_protocol import ResultsRequest

WRITABLE = frozenset({"s3", "sftp", "webdav"})
"""Kinds of connections to which files can be written."""


def check_results(request: ResultsRequest, known: Mapping[str, Connection], place: str, faults: Faults) -> None:
    """Note what is wrong with where a file of results is to be written; the request stands at a place."""
    if request.connection is None:
        if request.path is not None:
            faults.add(f"{place}/path", "Only a file of a connection has a path; name one, or download the file")
        return
    connection = known.get(request.connection)
    if connection is None:
        said = unknown("connection", request.connection, list(known))
        faults.add(f"{place}/connection", said if said.endswith("?") else f"{said} in connections.toml")
    elif connection.kind not in WRITABLE:
        kinds = ", ".join(sorted(WRITABLE))
        faults.add(
            f"{place}/connection",
            f"{request.connection} is of the kind {connection.kind}, which cannot be written to; it takes {kinds}",
        )
    if request.path is None:
        faults.add(f"{place}/path", "The path of the file is needed with a connection")
    elif detail := _wrong_path(request.path):
        faults.add(f"{place}/path", detail)


def _wrong_path(path: str) -> str | None:
    if ADDRESS.match(path):
        return "The path stands below the connection's root, without :// and host"
    if steps_up(path):
        return "A path below a connection has no '.' or '..' in it"
    if path.endswith("/"):
        return "It is the path of a directory; name a file in it"
    if any(letter < " " for letter in path):
        return "A path has no control characters in it"
    return None
