"""What the library builds on recorders works on JetStream: notification logs, projections, systems, snapshots."""

from uuid import NAMESPACE_URL, UUID, uuid5

import pytest
from eventsourcing.application import Application, ProcessingEvent
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, DomainEventProtocol, event
from eventsourcing.projection import EventSourcedProjectionRunner, ProjectionRunner
from eventsourcing.system import NewMultiThreadedRunner, NewSingleThreadedRunner, ProcessApplication, System
from eventsourcing.tests.projection import (
    AggregateEventCountersProjection,
    Counters,
    EventCountersView,
    SpannerThrown,
    SpannerThrownError,
)

from tests.contract.counters import CountersView

pytestmark = pytest.mark.usefixtures("fresh_streams")


class Accounts(Application[UUID]):
    """An upstream application."""

    def open(self) -> UUID:
        account = Aggregate()
        self.save(account)
        return account.id

    def credit(self, id_: UUID, times: int = 1) -> int:
        """Credit it, and return the id of the last notification."""
        account: Aggregate = self.repository.get(id_)
        for _ in range(times):
            account.trigger_event(Aggregate.Event)
        return self.save(account)[-1].notification.id


class Total(Aggregate):
    """What a downstream application keeps about one account."""

    def __init__(self, account: UUID) -> None:
        self.account = account
        self.credits = 0

    @classmethod
    def create_id(cls, account: UUID) -> UUID:
        return uuid5(NAMESPACE_URL, f"/totals/{account}")

    @event("Counted")
    def count(self) -> None:
        self.credits += 1


class Totals(ProcessApplication[UUID]):
    """Keeps a total for each account, by events of its own."""

    @singledispatchmethod
    def policy(self, domain_event: DomainEventProtocol[UUID], processing_event: ProcessingEvent[UUID]) -> None:
        """Count credits."""

    @policy.register
    def _(self, domain_event: Aggregate.Created, processing_event: ProcessingEvent[UUID]) -> None:
        processing_event.collect_events(Total(domain_event.originator_id))

    @policy.register
    def _(self, domain_event: Aggregate.Event, processing_event: ProcessingEvent[UUID]) -> None:
        total: Total = self.repository.get(Total.create_id(domain_event.originator_id))
        total.count()
        processing_event.collect_events(total)

    def credits(self, account: UUID) -> int:
        total: Total = self.repository.get(Total.create_id(account))
        return total.credits


def test_a_notification_log_is_read_section_by_section() -> None:
    with Accounts() as app:
        id_ = app.open()
        app.credit(id_, times=24)

        sections, next_id = [], "1,10"
        while next_id:
            section = app.notification_log[next_id]
            sections.append((section.id, [item.originator_version for item in section.items]))
            next_id = section.next_id or ""

    assert sections == [
        ("1,10", list(range(1, 11))),
        ("11,20", list(range(11, 21))),
        ("21,25", list(range(21, 26))),
    ]


def test_a_long_history_is_read_completely_and_in_the_order_of_its_versions() -> None:
    with Accounts() as app:
        id_ = app.open()
        for _ in range(3):
            app.credit(id_, times=700)

        assert [found.originator_version for found in app.events.get(id_)] == list(range(1, 2102))
        assert app.repository.get(id_, version=1500).version == 1500
        assert [found.originator_version for found in app.events.get(id_, gt=2099)] == [2100, 2101]
        assert [found.originator_version for found in app.events.get(id_, desc=True, limit=2)] == [2101, 2100]


def test_snapshots_come_in_the_order_of_their_versions_whenever_they_were_taken() -> None:
    class Snapshotting(Accounts):
        name = "snapshotting"
        is_snapshotting_enabled = True

    with Snapshotting() as app:
        id_ = app.open()
        app.credit(id_, times=9)
        for version in (8, 3, 5):
            app.take_snapshot(id_, version=version)

        assert app.snapshots
        assert [taken.originator_version for taken in app.snapshots.get(id_)] == [3, 5, 8]
        [newest] = app.snapshots.get(id_, desc=True, limit=1)
        assert newest.originator_version == 8
        assert app.repository.get(id_).version == 10
        assert app.repository.get(id_, version=6).version == 6


def runner() -> ProjectionRunner[Accounts, EventCountersView]:
    return ProjectionRunner(
        application_class=Accounts, projection_class=AggregateEventCountersProjection, view_class=CountersView
    )


def test_a_projection_goes_on_where_it_stopped() -> None:
    with runner() as running:
        id_ = running.app.open()
        running.wait(running.app.credit(id_), timeout=10)
    with Accounts() as app:
        last = app.credit(id_, times=3)
    with runner() as running:
        running.wait(last, timeout=10)

        assert running.projection.view.get_created_event_counter() == 1
        assert running.projection.view.get_subsequent_event_counter() == 4


def test_a_projection_that_fails_tells_who_runs_it_and_stores_no_position_beyond() -> None:
    with runner() as running:
        id_ = running.app.open()
        account: Aggregate = running.app.repository.get(id_)
        account.trigger_event(SpannerThrown)
        failing = running.app.save(account)[-1].notification.id

        with pytest.raises(SpannerThrownError):
            running.run_forever(timeout=10)

        assert running.projection.view.max_tracking_id("Accounts") == failing - 1


def test_an_event_sourced_projection_goes_on_where_it_stopped() -> None:
    def run() -> EventSourcedProjectionRunner[Accounts, Counters]:
        return EventSourcedProjectionRunner(application_class=Accounts, projection_class=Counters)

    with run() as running:
        id_ = running.app.open()
        running.wait(running.app.credit(id_), timeout=10)
    with Accounts() as app:
        last = app.credit(id_, times=2)
    with run() as running:
        running.wait(last, timeout=10)

        assert running.projection.get_count(Aggregate.Created) == 1
        assert running.projection.get_count(Aggregate.Event) == 3
        assert running.projection.recorder.max_tracking_id("Accounts") == last


@pytest.mark.parametrize("runner_class", [NewSingleThreadedRunner, NewMultiThreadedRunner])
def test_a_system_of_applications_is_processed(
    runner_class: type[NewSingleThreadedRunner[UUID] | NewMultiThreadedRunner[UUID]],
) -> None:
    with runner_class(System(pipes=[[Accounts, Totals]])) as running:
        accounts, totals = running.get(Accounts), running.get(Totals)
        id_ = accounts.open()
        last = accounts.credit(id_, times=5)
        totals.recorder.wait("Accounts", last, timeout=10)

        assert totals.credits(id_) == 5
