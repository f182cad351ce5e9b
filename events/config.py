"""The configuration of a process, read once from ROTA_* at its start."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from events.sources import Connection, connection
from events.subjects import PARTITIONS
from rota.errors import InvalidRequestError
from rota.protocol import Name

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
"""How every process of the server writes its log lines, at `Config.log_level`."""

Port = Annotated[int, Meta(ge=0, le=65535)]
Days = Annotated[float, Meta(ge=0)]
"""How long something is kept; 0 means for ever."""


class Config(Struct, frozen=True, kw_only=True):
    """What can be set, by the name `ROTA_<NAME>` in the environment."""

    home: Path = Path(".rota")
    """Where data is kept: JetStream's store, the views, connections.toml."""
    nats_url: str = "nats://127.0.0.1:4222"
    nats_port: Port = 4222
    """Port of the server that `scripts/up` starts if no URL is given; 0 means a free one."""
    host: str = "127.0.0.1"
    """Where the gateway listens."""
    port: Port = 8080
    shards: Annotated[int, Meta(ge=1, le=PARTITIONS)] = 1
    """Actors that share the partitions of commands."""
    cached_aggregates: Annotated[int, Meta(ge=1)] = 50_000
    """Jobs, batches and so on that each shard keeps in memory, so that it need not load them from the log."""
    readers: Annotated[int, Meta(ge=1, le=1000)] = 16
    """Batches that are read, or wait for their jobs, at a time."""
    reader_memory_bytes: Annotated[int, Meta(ge=1024**3)] = 4 * 1024**3
    """Most memory that the process of a reader may have; a file that needs more is an error."""
    max_body_bytes: Annotated[int, Meta(ge=1024)] = 8 * 1024 * 1024
    """Largest request body that the gateway takes."""
    stream_bytes: Annotated[int, Meta(ge=16 * 1024**2)] = 64 * 1024**2
    """Bytes that are streamed in for a batch and not in jobs yet; beyond that its sender is held back."""
    kept_stream_bytes: Annotated[int, Meta(ge=16 * 1024**2)] = 16 * 1024**3
    """Largest stream that has to be kept whole: it is compressed, or YAML or XML."""
    max_streams: Annotated[int, Meta(ge=1)] = 500
    """Streams of events that the gateway serves at a time."""
    keep_events_days: Days = 0
    """How long the events, rows and results of a job or batch are kept after it has ended."""
    keep_payloads_days: Days = 30
    """How long rows are kept that nobody removed."""
    keep_results_days: Days = 30
    """How long large results are kept."""
    keep_dead_letters_days: Days = 30
    """How long commands are kept that were refused or could not be carried out."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @property
    def views(self) -> Path:
        """The file of the views."""
        return self.home / "views.sqlite"

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Config":
        """Read the configuration; InvalidRequestError names the variable that is wrong."""
        names = {f"ROTA_{field.upper()}": field for field in cls.__struct_fields__}
        values = {field: environment[name] for name, field in names.items() if environment.get(name)}
        try:
            return msgspec.convert(values, cls, strict=False, dec_hook=lambda type_, value: type_(value))
        except msgspec.ValidationError as error:
            field = str(error).rpartition("$.")[2].rstrip("`")
            raise InvalidRequestError(f"ROTA_{field.upper()} is wrong: {error}") from error

    def connections(self) -> dict[str, Connection]:
        """Read the named connections from `connections.toml` in the home folder."""
        path = self.home / "connections.toml"
        if not path.exists():
            return {}
        try:
            tables = msgspec.convert(tomllib.loads(path.read_text()), dict[Name, dict[str, Any]])
        except (msgspec.ValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise InvalidRequestError(f"{path.name}: {error}") from None
        found = {}
        for name, settings in tables.items():
            try:
                found[name] = connection(settings)
            except InvalidRequestError as error:
                raise InvalidRequestError(f"{path.name}: [{name}] {error}") from None
        return found
