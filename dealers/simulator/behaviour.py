"""What the last two digits of a customer number make a simulated dealer do.

A plan is data: what is created by the purchase, how its answer leaves, and the steps that follow
by themselves. Pure, so that the book and the agenda can look a plan up again after a restart.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import exp, log
from random import Random
from types import MappingProxyType


class State(StrEnum):
    """Where a purchase stands at the dealer."""

    LOST = "lost"
    """It never reached the dealer's store; remembered only so that a second try goes through."""
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUNDED = "refunded"


class Reason(StrEnum):
    """Why a purchase was refused or failed; a dialect words it."""

    BAD_REQUEST = "bad_request"
    WRONG_SIGNATURE = "wrong_signature"
    UNKNOWN_PRODUCT = "unknown_product"
    STOCK = "stock"
    PRICE = "price"
    WRONG_NUMBER = "wrong_number"
    DISRUPTED = "disrupted"


class Manner(StrEnum):
    """How the first answer to a purchase leaves."""

    PLAIN = "plain"
    SLOW = "slow"
    """Held for a while that a patient client sits out."""
    LATE = "late"
    """Held until after the client has given up."""
    CUT = "cut"
    GARBAGE = "garbage"
    HTTP_500 = "http_500"
    HTTP_503 = "http_503"


class Change(StrEnum):
    """What a step does to a purchase."""

    DELIVER = "deliver"
    FAIL = "fail"
    REFUND = "refund"
    ADD_SERIAL = "add_serial"


class Wait(StrEnum):
    """Which of the configured waits comes before a step."""

    CALLBACK = "callback"
    LATE_SUCCESS = "late_success"
    REVERSAL = "reversal"
    LATE_SERIAL = "late_serial"


@dataclass(frozen=True, slots=True)
class Timing:
    """How long everything takes, in seconds."""

    callback_seconds: float = 1.0
    late_success_seconds: float = 3.0
    reversal_seconds: float = 3.0
    late_answer_seconds: float = 15.0
    slow_answer_seconds: float = 10.0
    late_serial_seconds: float = 2.0
    latency_seconds: float = 0.0
    callback_retry_seconds: float = 1.0

    def before_step(self, wait: Wait) -> float:
        """Seconds between the event that a step follows and the step."""
        match wait:
            case Wait.CALLBACK:
                return self.callback_seconds
            case Wait.LATE_SUCCESS:
                return self.late_success_seconds
            case Wait.REVERSAL:
                return self.reversal_seconds
            case Wait.LATE_SERIAL:
                return self.late_serial_seconds

    def before_answer(self, manner: Manner) -> float:
        """Seconds for which an answer is held."""
        match manner:
            case Manner.SLOW:
                return self.latency_seconds + self.slow_answer_seconds
            case Manner.LATE:
                return self.latency_seconds + self.late_answer_seconds
            case _:
                return self.latency_seconds


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a dealer takes for each answer: log-normal, as services are, cut at a minute."""

    median_seconds: float
    p99_seconds: float

    def sample(self, random: Random) -> float:
        """Seconds for one answer."""
        spread = log(self.p99_seconds / self.median_seconds) / _P99_DEVIATIONS
        return min(self.median_seconds * exp(spread * random.gauss(0, 1)), _LONGEST_SECONDS)


_P99_DEVIATIONS = 2.3263
"""Of a normal distribution, 99 % lie below so many standard deviations."""
_LONGEST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Step:
    """One thing a dealer does by itself, after the step before it is over."""

    after: Wait
    change: Change | None = None
    tell: State | None = None
    """The state that a callback claims, which need not be the true one; None: no callback."""
    copies: int = 1
    """How many times the callback is sent, at the same moment."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one purchase sets in motion."""

    state: State = State.SUCCEEDED
    """What the purchase is created as."""
    refusal: Reason | None = None
    """Set where nothing is created and the answer says why."""
    failure: Reason | None = None
    """The reason given where the purchase fails after it was created."""
    manner: Manner = Manner.PLAIN
    has_serial: bool = True
    steps: tuple[Step, ...] = ()


SUCCESS = "00"
"""The digits of a success at once, and of every dealer that always succeeds."""

_AT_ONCE = Plan()
_DELIVER_AND_TELL = Step(Wait.CALLBACK, Change.DELIVER, tell=State.SUCCEEDED)

_PLANS = MappingProxyType(
    {
        "70": Plan(State.PENDING, steps=(_DELIVER_AND_TELL,)),
        "71": Plan(State.PENDING, steps=(Step(Wait.CALLBACK, Change.DELIVER),)),
        "72": Plan(
            State.PENDING,
            failure=Reason.DISRUPTED,
            steps=(Step(Wait.CALLBACK, Change.FAIL, tell=State.FAILED),),
        ),
        "73": Plan(refusal=Reason.STOCK),
        "74": Plan(State.FAILED, failure=Reason.WRONG_NUMBER),
        "75": Plan(manner=Manner.CUT),
        "76": Plan(State.LOST, manner=Manner.CUT),
        "77": Plan(manner=Manner.LATE),
        "78": Plan(
            State.PENDING,
            steps=(Step(Wait.CALLBACK, Change.DELIVER, tell=State.SUCCEEDED, copies=3),),
        ),
        "79": Plan(
            State.PENDING,
            steps=(_DELIVER_AND_TELL, Step(Wait.CALLBACK, tell=State.FAILED)),
        ),
        "80": Plan(steps=(Step(Wait.REVERSAL, Change.REFUND, tell=State.REFUNDED),)),
        "81": Plan(manner=Manner.GARBAGE),
        "82": Plan(manner=Manner.HTTP_500),
        "83": Plan(State.LOST, manner=Manner.HTTP_503),
        "84": Plan(
            has_serial=False,
            steps=(Step(Wait.LATE_SERIAL, Change.ADD_SERIAL, tell=State.SUCCEEDED),),
        ),
        "85": Plan(
            State.FAILED,
            failure=Reason.DISRUPTED,
            steps=(Step(Wait.LATE_SUCCESS, Change.DELIVER, tell=State.SUCCEEDED),),
        ),
        "86": Plan(manner=Manner.SLOW),
        "87": Plan(refusal=Reason.PRICE),
        "88": Plan(State.PENDING),
    }
)


MEANINGS = MappingProxyType(
    {
        "70": "says pending, delivers, says so by callback",
        "71": "says pending, delivers, never calls back: only asking tells",
        "72": "says pending, then fails and calls back",
        "73": "refuses, out of stock; nothing is created",
        "74": "fails because of the number",
        "75": "delivers, then cuts the connection",
        "76": "cuts the connection; nothing is created",
        "77": "delivers, answers after the client has given up",
        "78": "says pending, delivers, sends the callback three times at once",
        "79": "delivers, calls back with success and then with failure; asked, it says success",
        "80": "delivers, later refunds",
        "81": "delivers, answers garbage",
        "82": "delivers, answers HTTP 500",
        "83": "answers HTTP 503; nothing is created",
        "84": "delivers without a serial number, which comes later by callback",
        "85": "fails for the product, later delivers after all",
        "86": "delivers, answers after a long while",
        "87": "refuses: its price rose above the limit sent",
        "88": "says pending, for ever",
    }
)
"""What each plan looks like from outside, for people; every other number: delivers at once."""

_TOLD = "t"
"""Follows the digits of a purchase whose result is told by callback only."""


def digits_of(customer_number: str) -> str:
    """The two characters of a customer number that choose the behaviour."""
    return customer_number[-2:]


def told_by_callback(digits: str) -> str:
    """The digits of the same plan at a dealer whose first answer is an acknowledgement only."""
    return digits + _TOLD


def plan_of(digits: str) -> Plan:
    """The plan that two digits choose; whatever is not in the table succeeds at once."""
    plan = _PLANS.get(digits.removesuffix(_TOLD), _AT_ONCE)
    if not digits.endswith(_TOLD) or plan.state not in (State.SUCCEEDED, State.FAILED):
        return plan
    return replace(plan, steps=(Step(Wait.CALLBACK, tell=plan.state), *plan.steps))
