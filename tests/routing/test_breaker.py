from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from routing.health import Breaker, BreakerRules, BreakerState

RULES = BreakerRules(
    consecutive_failures=3,
    failure_basis_points=5_000,
    minimum_sample=10,
    window_seconds=30.0,
    cooldown_seconds=10.0,
    half_open_probes=2,
)


def call(breaker, outcome, now):
    ticket = breaker.enter(now)
    assert ticket is not None
    getattr(breaker, outcome)(ticket, now)


def opened(now=0.0):
    breaker = Breaker(RULES)
    for _ in range(RULES.consecutive_failures):
        call(breaker, "failed", now)
    return breaker


def test_failures_in_a_row_open_the_breaker():
    breaker = opened()
    assert breaker.state(0.0) is BreakerState.OPEN
    assert not breaker.permits(9.9)
    assert breaker.enter(9.9) is None


def test_a_success_starts_the_row_anew():
    breaker = Breaker(RULES)
    for outcome in ["failed", "failed", "succeeded", "failed", "failed"]:
        call(breaker, outcome, 0.0)
    assert breaker.state(0.0) is BreakerState.CLOSED


def test_a_high_failure_ratio_opens_only_with_enough_calls():
    breaker = Breaker(RULES)
    for outcome in ["failed", "succeeded"] * 4 + ["succeeded"]:
        call(breaker, outcome, 0.0)
    assert breaker.state(0.0) is BreakerState.CLOSED
    call(breaker, "failed", 0.0)
    assert breaker.state(0.0) is BreakerState.OPEN


def test_failures_of_an_earlier_window_do_not_count_in_the_ratio():
    breaker = Breaker(RULES)
    for outcome in ["failed", "succeeded"] * 4:
        call(breaker, outcome, 0.0)
    for outcome in ["failed", "succeeded"]:
        call(breaker, outcome, 30.0)
    assert breaker.state(30.0) is BreakerState.CLOSED


def test_after_the_cooldown_only_a_few_probes_go_through():
    breaker = opened()
    assert breaker.state(10.0) is BreakerState.HALF_OPEN
    assert [breaker.enter(10.0) is not None for _ in range(3)] == [True, True, False]
    assert not breaker.permits(10.0)


def test_asking_takes_no_probe():
    breaker = opened()
    assert all(breaker.permits(10.0) for _ in range(10))


def test_a_probe_that_succeeds_closes_the_breaker():
    breaker = opened()
    call(breaker, "succeeded", 10.0)
    assert breaker.state(10.0) is BreakerState.CLOSED


def test_a_probe_that_fails_opens_it_for_a_full_cooldown():
    breaker = opened()
    call(breaker, "failed", 12.0)
    assert breaker.state(21.9) is BreakerState.OPEN
    assert breaker.state(22.0) is BreakerState.HALF_OPEN


def test_probes_that_never_report_are_replaced():
    breaker = opened()
    breaker.enter(10.0)
    breaker.enter(15.0)
    assert breaker.enter(10.0 + RULES.probe_seconds - 0.1) is None
    assert breaker.enter(10.0 + RULES.probe_seconds) is not None


def test_a_probe_may_outlast_the_cooldown_and_stays_the_only_one():
    breaker = Breaker(replace(RULES, half_open_probes=1))
    for _ in range(RULES.consecutive_failures):
        call(breaker, "failed", 0.0)
    assert breaker.enter(10.0) is not None
    assert [breaker.enter(now) for now in (10.0, 20.0, 45.0)] == [None, None, None]


def test_a_probe_that_was_not_sent_leaves_room_for_another():
    breaker = Breaker(replace(RULES, half_open_probes=1))
    for _ in range(RULES.consecutive_failures):
        call(breaker, "failed", 0.0)
    ticket = breaker.enter(10.0)
    assert ticket is not None
    assert not breaker.permits(10.0)
    breaker.left(ticket)
    assert breaker.enter(10.0) is not None


def test_what_left_before_the_outage_frees_no_probe():
    breaker = Breaker(replace(RULES, half_open_probes=1))
    early = breaker.enter(0.0)
    assert early is not None
    for _ in range(RULES.consecutive_failures):
        call(breaker, "failed", 0.0)
    assert breaker.enter(10.0) is not None
    breaker.left(early)
    assert not breaker.permits(10.0)


def test_a_slow_failure_from_before_the_outage_does_not_spoil_the_recovery():
    breaker = Breaker(RULES)
    slow = breaker.enter(0.0)
    for _ in range(RULES.consecutive_failures):
        call(breaker, "failed", 0.0)
    call(breaker, "succeeded", 10.0)
    for _ in range(RULES.consecutive_failures):
        breaker.failed(slow, 11.0)
    assert breaker.state(11.0) is BreakerState.CLOSED


def test_a_late_success_from_before_the_outage_does_not_end_it():
    breaker = Breaker(RULES)
    slow = breaker.enter(0.0)
    for _ in range(RULES.consecutive_failures):
        call(breaker, "failed", 0.0)
    breaker.succeeded(slow, 10.0)
    assert breaker.state(10.0) is BreakerState.HALF_OPEN


@given(
    st.lists(
        st.tuples(st.sampled_from(["enter", "succeeded", "failed"]), st.floats(0, 8)), max_size=80
    )
)
@example([("enter", 0.0)] * 3 + [("failed", 0.0)] * 3 + [("enter", 10.0), ("enter", 0.0)])
def test_a_breaker_never_lets_a_call_out_while_open_and_always_comes_back(steps):
    breaker, tickets, now = Breaker(RULES), [], 0.0
    for verb, elapsed in steps:
        now += elapsed
        before = breaker.state(now)
        if verb == "enter":
            ticket = breaker.enter(now)
            assert ticket is None or before is not BreakerState.OPEN
            assert ticket is not None or before is not BreakerState.CLOSED
            tickets += [] if ticket is None else [ticket]
        elif tickets:
            getattr(breaker, verb)(tickets.pop(), now)
    # Probes that nothing is heard of hold their places for a while; those given back do not.
    assert breaker.permits(now + RULES.probe_seconds)
    for ticket in tickets:
        breaker.left(ticket)
    assert breaker.permits(now + RULES.cooldown_seconds)
