"""The streams and consumers that Rota needs, as data; made at start, or checked when they are there."""

from collections.abc import Callable
from typing import Any

from events.config import Config
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
RESULTS = "ROTA_RESULTS"
CHUNKS = "ROTA_CHUNKS"
RESULTS_FILES = "ROTA_RESULTS_FILES"
SNAPSHOTS = "ROTA_SNAPSHOTS"
DEAD_LETTERS = "ROTA_DEAD_LETTERS"

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
    # The rows of a batch are removed as its jobs end; their age is for what was left over.
    PAYLOADS: {
        "subjects": ["rota.payload.>"],
        "retention": "limits",
        "storage": "file",
        "allow_direct": True,
    },
    RESULTS: {
        "subjects": ["rota.result.*"],
        "retention": "limits",
        "storage": "file",
        "allow_direct": True,
    },
    # What is streamed in: removed as it is in jobs, and at the end of the batch.
    CHUNKS: {
        "subjects": ["rota.chunk.*.*"],
        "retention": "limits",
        "storage": "file",
        "allow_direct": True,
    },
    RESULTS_FILES: {
        "subjects": ["rota.results_file.*.*.*"],
        "retention": "limits",
        "storage": "file",
        "allow_direct": True,
    },
    SNAPSHOTS: {
        "subjects": ["rota.snapshot.*.*"],
        "retention": "limits",
        "storage": "file",
        "allow_direct": True,
        "max_msgs_per_subject": 1,
    },
    DEAD_LETTERS: {
        "subjects": ["rota.dead_letter.*.*.*"],
        "retention": "limits",
        "storage": "file",
        "allow_direct": True,
        "max_msgs": 100_000,
    },
}

SNAPSHOT_DAYS = 30
"""Losing one costs time, nothing else; an aggregate that is still at work makes another."""

KEPT_DAYS: dict[str, Callable[[Config], float]] = {
    PAYLOADS: lambda config: config.keep_payloads_days,
    CHUNKS: lambda config: config.keep_payloads_days,
    RESULTS_FILES: lambda config: config.keep_results_days,
    RESULTS: lambda config: config.keep_results_days,
    SNAPSHOTS: lambda _: SNAPSHOT_DAYS,
    DEAD_LETTERS: lambda config: config.keep_dead_letters_days,
}
"""The streams whose messages go by their age. Events do not: a job that waits needs its oldest one."""

OWNER = "owner"
"""The priority group of a partition's consumer: the server hands messages to one client of it at a time."""
PIN_SECONDS = 5
"""After this silence of a partition's owner another one may have it."""

READERS = "readers"
"""The consumer that hands out batches to be read; a batch is acknowledged when it has ended."""
COLLECTORS = "collectors"
"""The consumer that hands out results to be collected; they do not wait for the places of batches."""


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
                # Who takes a partition over does not wait for this; see `hand_out_again`.
                "ack_wait": 60 * SECOND,
                "max_ack_pending": 10_000,
                "priority_policy": "pinned_client",
                "priority_groups": [OWNER],
                "priority_timeout": PIN_SECONDS * SECOND,
            },
        )
        for partition in range(PARTITIONS)
    ),
    (
        EVENTS,
        {
            "durable_name": READERS,
            "filter_subjects": [
                "rota.event.batch.*.opened",
                "rota.event.batch.*.redriven",
            ],
            "ack_policy": "explicit",
            "ack_wait": 10 * SECOND,
            "max_ack_pending": 1000,
        },
    ),
    (
        EVENTS,
        {
            "durable_name": COLLECTORS,
            "filter_subject": "rota.event.batch.*.results_requested",
            "ack_policy": "explicit",
            "ack_wait": 10 * SECOND,
            "max_ack_pending": 1000,
        },
    ),
]


async def prepare(connection: Connection, config: Config | None = None) -> None:
    """Check the server and make the streams and consumers that are missing.

    Where the configuration says how long messages are kept, streams that are there are changed to that. Any other
    difference raises IncompatibleError that names it and says what to do.
    """
    await check_server(connection)
    for name, wanted in STREAMS.items():
        await _ensure_stream(connection, name, wanted, config)
    for stream, consumer in CONSUMERS:
        await ensure_consumer(connection, stream, consumer)


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


async def _ensure_stream(connection: Connection, name: str, wanted: dict[str, Any], config: Config | None) -> None:
    age = int(KEPT_DAYS[name](config or Config()) * DAY) if name in KEPT_DAYS else 0
    try:
        found = (await connection.call(f"STREAM.INFO.{name}"))["config"]
    except JetStreamError as error:
        if error.code != STREAM_NOT_FOUND:
            raise
        if name == WORK and (await connection.call(f"STREAM.INFO.{EVENTS}"))["state"]["last_seq"]:
            # The server would fill a new one from the beginning of the log.
            raise IncompatibleError(
                "The stream ROTA_WORK is missing, and the log has jobs: all of them would be handed out again. "
                "Make it anew with ./scripts/mend, with those that wait."
            ) from error
        await connection.call(f"STREAM.CREATE.{name}", {"name": name, "max_age": age, **wanted})
        return
    if differences := _differences(wanted, found):
        raise IncompatibleError(
            f"The stream {name} exists with another configuration: {'; '.join(differences)}. "
            "Change it with the nats command line, or give Rota a JetStream account of its own."
        )
    if config and name in KEPT_DAYS and found["max_age"] != age:
        # The server takes no window of duplicates that is longer than the age.
        window = min(found["duplicate_window"], age or found["duplicate_window"])
        await connection.call(f"STREAM.UPDATE.{name}", {**found, "max_age": age, "duplicate_window": window})


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
