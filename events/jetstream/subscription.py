"""The library's subscription: notifications as they are recorded."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from threading import Lock

from eventsourcing.persistence import ApplicationRecorder, InterfaceError, Notification, Subscription
from nats.aio.msg import Msg

from events.jetstream.envelope import is_event, notification
from events.jetstream.loop import Loop
from rota.follow import Follower
from rota.jetstream import until_available
from rota.pull import delivery


class JetStreamSubscription(Subscription[ApplicationRecorder]):
    """Follows a stream from a position, in order, without gaps or repeats, until it is stopped.

    It begins when it is made. While NATS is away it waits. `stop` may be called from any thread.
    """

    def __init__(
        self,
        recorder: ApplicationRecorder,
        loop: Loop,
        follower: Follower,
        topics: Sequence[str],
    ) -> None:
        super().__init__(recorder, topics=topics)
        self._loop = loop
        self._follower = follower
        self._ready: deque[Msg] = deque()
        self._taking: Future[list[Msg]] | None = None
        self._stopping = Lock()
        loop.run(follower.__aenter__())

    def stop(self) -> None:
        """End the subscription, without waiting for it; whoever waits for the next notification is released."""
        with self._stopping, suppress(InterfaceError):
            if self._has_been_stopped:
                return
            super().stop()
            if self._taking:
                self._taking.cancel()
            self._loop.submit(self._follower.__aexit__(None, None, None))

    def __next__(self) -> Notification:
        while True:
            if not self._ready:
                self._ready.extend(self._take())
            if self._has_been_stopped:
                raise StopIteration
            message = self._ready.popleft()
            if not is_event(message):
                continue
            found = notification(message, delivery(message).sequence)
            if not self._topics or found.topic in self._topics:
                return found

    def _take(self) -> list[Msg]:
        with self._stopping:
            if self._has_been_stopped:
                raise StopIteration
            self._taking = self._loop.submit(until_available(self._follower.take))
        try:
            return self._taking.result()
        except CancelledError:
            raise StopIteration from None
