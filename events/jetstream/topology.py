"""The streams and consumers that Rota needs, as data; made at start, or checked when they are there."""

from collections.abc import Iterable
from typing import Any

from events.subjects import PARTITIONS, partition_filter
from rota.errors import IncompatibleError, UnavailableError
from rota.jetstream import STREAM_NOT_FOUND, Connection, JetStreamError

MIN_SERVER = (2, 14)
MIN_PAYLOAD = 4 * 1024 * 1024

SECOND = 1_000_000_000
DAY = 24 * 3600 * SECOND

COMMANDS = "ROTA_COMMANDS"
EVENTS = "ROTA_EVENTS"
WORK = "ROTA_WORK"
PAYLOADS = "ROTA_PAYLOADS"

STREAMS: dict[str, dict[str, Any]] = {
    # Timers live here, since the target of a NATS schedule must be in the stream of the schedule.
    COMMANDS: {
        "subjects": ["rota.command.*.*.*", "rota.timer.*.*"],
        "retention": "workqueue",
        "storage": "file",
        "allow_atomic": True,
        "allow_direct": True,
        "allow_msg_schedules": True,
        "allow_msg_ttl": True,
        "subject_transform": {
            "src": "rota.command.*.*.*",
            "dest": f"rota.command.{{{{partition({PARTITIONS},2)}}}}"
            ".{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}",
        },
    },
    EVENTS: {
        "subjects": ["rota.event.>"],
        "retention": "limits",
        "storage": "file",
        "allow_atomic": True,
        "allow_direct": True,
        "republish": {"src": "rota.event.>", "dest": "rota.status.>"},
    },
    WORK: {
        "retention": "workqueue",
        "storage": "file",
        "sources": [
            {
                "name": EVENTS,
                "subject_transforms": [
                    {
                        "src": "rota.event.job.*.queued.*.*.*",
                        "dest": "rota.work.{{wildcard(2)}}.{{wildcard(3)}}.{{wildcard(4)}}.{{wildcard(1)}}",
                    }
                ],
            }
        ],
    },
    # The rows of a batch are removed as its jobs end; the age is for large results, and for what was left over.
    PAYLOADS: {
        "subjects": ["rota.payload.>"],
        "retention": "limits",
        "storage": "file",
        "allow_direct": True,
        "max_age": 30 * DAY,
    },
}

READERS = "readers"
"""The consumer that hands out opened batches; a batch is acknowledged when it has ended."""


def partition_consumer(partition: int) -> str:
    """Return the name of the consumer that a partition's owner reads."""
    return f"partition-{partition}"


CONSUMERS: list[tuple[str, dict[str, Any]]] = [
    *(
        (
            COMMANDS,
            {
                "durable_name": partition_consumer(partition),
                "filter_subject": partition_filter(partition),
                "ack_policy": "explicit",
                # A shard that starts takes over at once; see `take_over`.
                "ack_wait": 30 * SECOND,
                "max_ack_pending": 10_000,
            },
        )
        for partition in range(PARTITIONS)
    ),
    (
        EVENTS,
        {
            "durable_name": READERS,
            "filter_subject": "rota.event.batch.*.opened",
            "ack_policy": "explicit",
            "ack_wait": 10 * SECOND,
            "max_ack_pending": 1000,
        },
    ),
]


async def prepare(connection: Connection) -> None:
    """Check the server and make the streams and consumers that are missing.

    Raises IncompatibleError that names the difference and says what to do.
    """
    await check_server(connection)
    for name, config in STREAMS.items():
        await _ensure_stream(connection, name, config)
    for stream, config in CONSUMERS:
        await ensure_consumer(connection, stream, config)


async def check_server(connection: Connection) -> None:
    """Check that the server is new enough, has JetStream, and takes large messages."""
    version = connection.client.connected_server_version
    if (version.major, version.minor) < MIN_SERVER:
        raise IncompatibleError(
            f"The NATS server is {version.major}.{version.minor}.{version.patch}; Rota needs 2.14 or newer. "
            "Leave ROTA_NATS_URL unset to run the one that Rota brings along."
        )
    if connection.client.max_payload < MIN_PAYLOAD:
        raise IncompatibleError(
            f"The NATS server takes messages of {connection.client.max_payload} bytes; Rota needs at least "
            f"{MIN_PAYLOAD}. Set max_payload: 8MB in its configuration, as Rota's nats.conf does."
        )
    try:
        await connection.call("INFO")
    except (JetStreamError, UnavailableError) as error:
        raise IncompatibleError(
            "JetStream is not enabled on the NATS server. Add a jetstream block to its configuration "
            "(see Rota's nats.conf), or start it with -js."
        ) from error


async def ensure_consumer(connection: Connection, stream: str, config: dict[str, Any]) -> None:
    """Make a durable consumer, or change it to this configuration."""
    name = config["durable_name"]
    await connection.call(
        f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": {"name": name, **config}}
    )


async def take_over(connection: Connection, partitions: Iterable[int]) -> None:
    """Have all commands of the partitions handed out again that their owner before has not acknowledged.

    Those come at once then, not when the time for their acknowledgement is over.
    """
    for partition in partitions:
        await connection.call(f"CONSUMER.RESET.{COMMANDS}.{partition_consumer(partition)}")


async def _ensure_stream(connection: Connection, name: str, config: dict[str, Any]) -> None:
    try:
        info = await connection.call(f"STREAM.INFO.{name}")
    except JetStreamError as error:
        if error.code != STREAM_NOT_FOUND:
            raise
        await connection.call(f"STREAM.CREATE.{name}", {"name": name, **config})
        return
    if differences := list(_differences(config, info["config"])):
        raise IncompatibleError(
            f"The stream {name} exists with another configuration: {'; '.join(differences)}. "
            "Change it with the nats command line, or give Rota a JetStream account of its own."
        )


def _differences(wanted: Any, found: Any, path: str = "") -> list[str]:
    """Name what differs; what Rota does not ask for may be as it is."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [
            line
            for key, value in wanted.items()
            for line in _differences(value, found.get(key), f"{path}.{key}" if path else key)
        ]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        return [
            line
            for index, (one, other) in enumerate(zip(wanted, found, strict=True))
            for line in _differences(one, other, f"{path}[{index}]")
        ]
    return [] if wanted == found else [f"{path} is {found!r}, not {wanted!r}"]
