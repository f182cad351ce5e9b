"""Durable timers: a timer is a command that NATS delivers later."""

from datetime import UTC, datetime

from events.catalog import encode
from events.job import ReleaseJob
from events.subjects import command_subject, timer_subject
from rota.jetstream import Connection
from rota.protocol import CALLER, CAUSATION_ID


async def set_timer(connection: Connection, command: ReleaseJob, due: datetime, causation_id: str) -> None:
    """Have a command delivered at a time, because of an event; set again, the timer takes the place of the first.

    A time in the past delivers at once. When it returns, the timer is durable.
    """
    headers = {
        "Nats-Schedule": f"@at {due.astimezone(UTC).isoformat().replace('+00:00', 'Z')}",
        "Nats-Schedule-Target": command_subject(command),
        CALLER: "timer",
        CAUSATION_ID: causation_id,
    }
    await connection.publish(timer_subject(command), encode([command]), headers)
