"""Who is let in while queues are old: time is passed in, and chance is always the same."""

from collections.abc import Sequence
from random import Random
from uuid import UUID, uuid4

import pytest

from app.http.intake import LOOK_SECONDS, Demand, Intake, IntakeLimits
from app.metrics import Metrics
from app.storage.batches import Queue

TARGET = 0.5
FLOODER, MODEST, OTHER = uuid4(), uuid4(), uuid4()


class Process:
    """The queues of a process that passes on so many a second, and its intake."""

    def __init__(self, a_second: float = 1000.0) -> None:
        self.ages = {"accept": 0.0, "settle": 0.0}
        self.a_second = a_second
        self.backlog = 0
        self.now = 100.0
        self.intake = Intake(
            IntakeLimits(backlog_orders=100, target_seconds=TARGET),
            Metrics(),
            self._queues,
            lambda: self.backlog,
            Random(1).random,
        )

    def _queues(self) -> Sequence[Queue]:
        served = round(self.now * self.a_second)
        return [Queue(name, age, served) for name, age in self.ages.items()]

    def go_on(self, looks: int, asks: dict[UUID, int] | None = None) -> dict[UUID, int]:
        """Look so often, each time after these orders were asked for; how many were let in."""
        let_in = dict.fromkeys(asks or {}, 0)
        for _ in range(looks):
            for reseller_id, count in (asks or {}).items():
                for _ in range(count):
                    let_in[reseller_id] += self.intake.refusal(reseller_id) is None
            self.now += LOOK_SECONDS
            self.intake.look(self.now, 0.0)
        return let_in

    def flood(self, asks: dict[UUID, int]) -> None:
        """Orders are shed, and the queue is brought to a quarter of the target."""
        for age in (1.01, 0.25):
            self.ages["accept"] = TARGET * age
            self.go_on(20, asks)


@pytest.fixture
def process() -> Process:
    return Process()


def test_queue_that_is_young_refuses_nobody_however_much_comes(process: Process) -> None:
    process.ages["accept"] = TARGET * 0.9
    assert process.go_on(20, {FLOODER: 5000}) == {FLOODER: 100_000}
    assert not process.intake.sheds


def test_queue_that_is_old_for_a_moment_refuses_nobody(process: Process) -> None:
    for _ in range(5):
        process.ages["accept"] = 3.0
        assert process.go_on(4, {FLOODER: 500}) == {FLOODER: 2000}
        process.ages["accept"] = 0.0
        assert process.go_on(1, {FLOODER: 500}) == {FLOODER: 500}
    assert not process.intake.sheds


def test_queue_at_a_quarter_of_the_target_lets_in_what_it_passes_on(process: Process) -> None:
    process.flood({FLOODER: 150})
    assert process.intake.sheds
    let_in = process.go_on(20, {FLOODER: 150})[FLOODER]
    assert let_in == pytest.approx(1000, rel=0.05)  # a second's worth of what the process does


def test_older_queue_lets_in_fewer_until_it_is_worked_off(process: Process) -> None:
    let_in: list[int] = []
    process.ages["settle"] = TARGET * 1.01
    process.go_on(20, {FLOODER: 150})
    for age in (TARGET * 0.75, TARGET * 1.25, TARGET * 30):
        process.ages["settle"] = age
        process.go_on(20, {FLOODER: 150})
        let_in.append(process.go_on(20, {FLOODER: 150})[FLOODER])
    assert let_in == [pytest.approx(each, abs=50) for each in (750, 500, 300)]


def test_waits_in_several_queues_add_up(process: Process) -> None:
    process.ages = {"accept": TARGET * 0.4, "settle": TARGET * 0.4}
    process.go_on(20, {FLOODER: 150})
    assert not process.intake.sheds
    process.ages = {"accept": TARGET * 0.6, "settle": TARGET * 0.6}
    process.go_on(20, {FLOODER: 150})
    assert process.intake.sheds


def test_time_to_acceptance_counts_where_no_queue_shows_it(process: Process) -> None:
    for _ in range(10):
        for seconds in (0.001, TARGET * 2, TARGET * 2):
            process.intake.took(seconds)
        process.go_on(1, {FLOODER: 150})
    assert process.intake.sheds


def test_late_event_loop_counts_as_a_wait(process: Process) -> None:
    for _ in range(10):
        process.now += LOOK_SECONDS
        process.intake.look(process.now, TARGET * 2)
    assert process.intake.sheds


def test_drained_queue_refuses_nobody_any_more(process: Process) -> None:
    process.ages["accept"] = TARGET * 2
    process.go_on(20, {FLOODER: 150})
    assert process.intake.sheds
    process.ages["accept"] = 0.0
    process.go_on(5, {FLOODER: 150})
    assert not process.intake.sheds
    assert process.go_on(4, {FLOODER: 500}) == {FLOODER: 2000}


def test_it_is_tried_whether_all_would_fit_and_later_each_time(process: Process) -> None:
    asks = {FLOODER: 150}
    process.flood(asks)
    process.go_on(40, asks)
    assert process.intake.sheds
    process.go_on(20, asks)
    assert not process.intake.sheds  # after four seconds
    process.ages["accept"] = TARGET * 0.6
    process.go_on(6, asks)
    assert process.intake.sheds
    process.ages["accept"] = TARGET * 0.25
    process.go_on(145, asks)
    assert process.intake.sheds
    process.go_on(15, asks)
    assert not process.intake.sheds  # after eight


def test_try_ends_as_soon_as_more_comes_than_is_passed_on(process: Process) -> None:
    asks = {FLOODER: 150}
    process.flood(asks)
    process.ages["accept"] = TARGET * 0.4
    process.go_on(20, asks)
    let_in = process.go_on(100, asks)[FLOODER]
    # Of 15,000 in five seconds, with one try: what is passed on, a little less while it waits, and
    # all that came in the tenth of a second of the try.
    assert let_in == pytest.approx(5 * 0.925 * 1000 + 2 * 150, rel=0.05)


def test_who_asks_for_no_more_than_is_passed_on_ends_the_shedding(process: Process) -> None:
    process.flood({FLOODER: 150})
    process.ages["accept"] = TARGET * 0.4
    process.go_on(10, {FLOODER: 50})
    let_in = process.go_on(100, {FLOODER: 50})[FLOODER]
    assert let_in == 5000
    assert not process.intake.sheds


def test_nobody_is_kept_out_for_having_been_shed_before(process: Process) -> None:
    process.flood({FLOODER: 150})
    process.go_on(10, {FLOODER: 40})
    assert not process.intake.sheds


def test_flooder_is_shed_and_nobody_else(process: Process) -> None:
    asks = {FLOODER: 150, MODEST: 2, OTHER: 1}
    process.flood(asks)
    let_in = process.go_on(20, asks)
    assert (let_in[MODEST], let_in[OTHER]) == (40, 20)
    assert let_in[FLOODER] == pytest.approx(940, rel=0.05)


def test_equal_part_of_what_is_passed_on_is_let_in_however_little_that_is() -> None:
    process = Process(a_second=100.0)
    process.ages["accept"] = TARGET * 30
    asks = {FLOODER: 150, MODEST: 1, OTHER: 1}
    process.go_on(40, asks)
    let_in = process.go_on(20, asks)
    assert (let_in[MODEST], let_in[OTHER]) == (20, 20)
    assert let_in[FLOODER] < 50


def test_those_who_ask_for_the_same_get_the_same(process: Process) -> None:
    crowd = [uuid4() for _ in range(50)]
    asks = dict.fromkeys(crowd, 3)
    process.flood(asks)
    let_in = process.go_on(20, asks)
    assert sum(let_in.values()) == pytest.approx(1000, rel=0.05)
    assert min(let_in.values()) > 5
    assert max(let_in.values()) < 35


def test_who_begins_to_flood_is_shed_before_the_next_interval(process: Process) -> None:
    process.ages["accept"] = TARGET * 1.01
    process.go_on(20, {FLOODER: 100, MODEST: 2})
    sudden = uuid4()
    let_in = process.go_on(1, {sudden: 5000, MODEST: 2})
    assert let_in[MODEST] == 2
    assert let_in[sudden] < 2000


def test_deep_backlog_refuses_everybody_at_once(process: Process) -> None:
    process.backlog = 100
    assert process.intake.refusal(MODEST) == "backlog"
    process.backlog = 99
    assert process.intake.refusal(MODEST) is None


def test_process_that_stands_still_lets_nobody_in(process: Process) -> None:
    process.ages["accept"] = TARGET * 2
    process.a_second = 0.0
    process.go_on(20, {FLOODER: 150, MODEST: 1})
    assert process.go_on(5, {FLOODER: 150, MODEST: 1}) == {FLOODER: 0, MODEST: 0}


def test_those_refused_do_not_all_come_back_in_the_same_second(process: Process) -> None:
    process.ages["accept"] = TARGET * 1.01
    process.go_on(20, {FLOODER: 200})
    asked = {process.intake.retry_after_seconds("queues") for _ in range(100)}
    assert len(asked) > 1
    assert asked <= {1, 2, 3, 4, 5}


def test_equal_part_leaves_nothing_over_and_gives_nothing_twice() -> None:
    demand = Demand()
    for reseller_id, count in ((FLOODER, 80), (MODEST, 15), (OTHER, 5)):
        for _ in range(count):
            demand.count(reseller_id)
    demand.turn(1.0)
    for ratio in (0.01, 0.1, 0.15, 0.2, 0.35, 0.5, 0.99):
        level = demand.level(ratio)
        assert sum(min(each, level) for each in (80, 15, 5)) == pytest.approx(100 * ratio)
