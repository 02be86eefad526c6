"""Lines: places, rates and breakers of endpoints, by a clock that the test moves."""

from uuid import UUID, uuid4

from app.lifecycle.lines import FAILURES_IN_A_ROW, Lines

HERE = UUID(int=1)


class Clock:
    """Monotonic seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def lines(most_at_once: int = 64, most_in_all: int = 1024) -> tuple[Lines, Clock]:
    clock = Clock()
    return Lines(most_at_once, most_in_all, clock), clock


def fail(kept: Lines, times: int = FAILURES_IN_A_ROW) -> None:
    for _ in range(times):
        kept.failed(HERE)


def test_failures_in_a_row_open_the_breaker_and_then_one_is_tried_at_a_time() -> None:
    kept, clock = lines()
    fail(kept, FAILURES_IN_A_ROW - 1)
    assert kept.places()[HERE] == 64
    kept.failed(HERE)
    assert (kept.places()[HERE], kept.open_breakers) == (0, 1)
    clock.now += 1
    assert kept.places()[HERE] == 1
    kept.begin(kept.of(HERE), None)
    assert kept.places()[HERE] == 0
    kept.heard(HERE)
    kept.end(kept.of(HERE))
    assert kept.places()[HERE] == 64
    kept.forget(HERE)
    assert len(kept) == 0


def test_each_failed_probe_doubles_the_wait_up_to_a_minute() -> None:
    kept, clock = lines()
    fail(kept)
    waits: list[float] = []
    for _ in range(10):
        waits.append(kept.of(HERE).held_until - clock.now)
        clock.now = kept.of(HERE).held_until
        kept.failed(HERE)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_what_fails_while_the_breaker_is_open_tells_nothing_new() -> None:
    kept, clock = lines()
    fail(kept, 64)
    assert kept.of(HERE).held_until == clock.now + 1


def test_a_rate_allows_a_second_at_once_and_then_what_has_passed() -> None:
    kept, clock = lines()
    line = kept.of(HERE)
    for _ in range(3):
        assert kept.has_room(line, 3.0)
        kept.promise(line)
        kept.begin_promised(line)
    assert not kept.has_room(line, 3.0)
    assert kept.places()[HERE] == 0
    clock.now += 0.4
    assert kept.places()[HERE] == 1
    clock.now += 60
    assert kept.places()[HERE] == 3


def test_a_rate_below_one_a_second_still_lets_one_pass() -> None:
    kept, clock = lines()
    line = kept.of(HERE)
    assert kept.has_room(line, 0.1)
    kept.promise(line)
    assert not kept.has_room(line, 0.1)
    clock.now += 10
    assert kept.has_room(line, 0.1)


def test_a_full_process_keeps_places_free_whoever_hangs() -> None:
    kept, _ = lines()
    for _ in range(32):
        line = kept.of(uuid4())
        while line.trying < kept.most(line):
            kept.begin(line, None)
    free = 1024 - kept.trying
    assert free > 0
    assert kept.most() >= 1


def test_lines_at_rest_are_forgotten_when_there_are_many() -> None:
    kept, clock = lines()
    for _ in range(4096):
        kept.hold(uuid4(), 1)
    clock.now += 2
    kept.of(HERE)
    assert len(kept) == 1


def test_lines_that_cannot_rest_are_bounded_all_the_same() -> None:
    kept, _ = lines()
    for _ in range(80_000):
        kept.hold(uuid4(), 300)
    assert len(kept) <= 65_536
