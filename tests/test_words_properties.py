"""What must hold after any sequence of words, whoever brings them and in whatever order."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from app.words import (
    OPEN_ATTEMPT,
    OPEN_ORDER,
    Attempt,
    AttemptState,
    Money,
    Order,
    OrderStatus,
    Ruling,
    Said,
    Source,
    Terms,
    Word,
    objection,
    rule,
    said_as_report,
    withdraw,
)
from dealers.contract import Outcome, Report
from tests.test_words import (
    ABSENT,
    ASKABLE,
    FAILURE,
    MUTE,
    NOON,
    NUMBER_FAULT,
    PENDING,
    REFUSAL,
    RESENDING,
    REVERSAL,
    SUCCESS,
    UNKNOWN,
)

MOST_ATTEMPTS = 3

# Weighed so that what is rare in trade (disputes, reversals, corrections) is common here.
reports = st.sampled_from(
    [SUCCESS, SUCCESS, SUCCESS, REFUSAL, FAILURE, REVERSAL, NUMBER_FAULT, PENDING, UNKNOWN, ABSENT]
)


@dataclass(frozen=True)
class Hears:
    """A word about one attempt, under the newest fence, an older one or none."""

    which: int
    report: Report
    source: Source
    age: int
    transport: bool
    route_stands: bool


@dataclass(frozen=True)
class Decides:
    """An operator's word, where nothing speaks against it."""

    which: int
    said: Said
    route_stands: bool


@dataclass(frozen=True)
class Claims:
    """The executor takes the ready row."""


@dataclass(frozen=True)
class Asks:
    """The reconciler begins a check of the last attempt."""


@dataclass(frozen=True)
class Withdraws:
    """The reseller cancels."""


@dataclass(frozen=True)
class Waits:
    """Time passes."""

    minutes: int


steps = st.one_of(
    st.builds(
        Hears,
        st.integers(0, MOST_ATTEMPTS - 1),
        reports,
        st.sampled_from([Source.PURCHASE, Source.CHECK, Source.CALLBACK]),
        st.integers(0, 1),
        st.sampled_from([False, False, False, True]),
        st.sampled_from([True, True, True, False]),
    ),
    st.builds(
        Decides,
        st.integers(0, MOST_ATTEMPTS - 1),
        st.sampled_from(Said),
        st.sampled_from([True, True, False]),
    ),
    st.just(Claims()),
    st.just(Claims()),
    st.just(Asks()),
    st.just(Withdraws()),
    st.builds(Waits, st.integers(1, 3)),
)


@dataclass
class Life:
    """Settling without a database: one order, its attempts, its money, its disputes."""

    terms: Terms
    status: OrderStatus = OrderStatus.ACCEPTED
    attempts: list[Attempt] = field(default_factory=list)
    ready: bool = True
    now = NOON
    resolutions: list[Money] = field(default_factory=list)
    charged: int = 0
    disputed: set[int] = field(default_factory=set)
    serving: int | None = None

    @property
    def stands(self) -> Order:
        until = NOON + timedelta(minutes=10)
        tries = list(self.attempts)
        return Order(self.status, False, None, 0, until, tries, self.ready, self.serving)

    def take(self, step: object) -> None:
        match step:
            case Hears():
                self._hear(step)
            case Decides() if step.which < len(self.attempts):
                self._decide(step)
            case Claims() if self.ready and len(self.attempts) < MOST_ATTEMPTS:
                number = len(self.attempts) + 1
                sent = Attempt(number, f"d{number}", AttemptState.SENT, 1, True, self.now, self.now)
                self.attempts.append(sent)
                self.ready = False
            case Asks() if self.attempts:
                last = self.attempts[-1]
                asked = AttemptState.UNKNOWN if last.state == AttemptState.SENT else last.state
                self.attempts[-1] = replace(
                    last, fence=last.fence + 1, in_flight=True, state=asked, asked_at=self.now
                )
            case Withdraws() if withdraw(self.stands):
                self.ready, self.status = False, OrderStatus.FAILED
                self._move(Money.RELEASE)
            case Waits():
                self.now += timedelta(minutes=step.minutes)
            case _:
                pass

    def _hear(self, step: Hears) -> None:
        if step.which >= len(self.attempts):
            return
        attempt = self.attempts[step.which]
        fence = None if step.source == Source.CALLBACK else max(1, attempt.fence - step.age)
        # Our own transport never says that a dealer succeeded, nor takes part in callbacks.
        transport = (
            step.transport and fence is not None and step.report.outcome != Outcome.SUCCEEDED
        )
        word = Word(attempt.attempt_no, step.source, step.report, fence, transport)
        self._follow(step, attempt, rule(self.stands, word, self.terms, self.now))

    def _decide(self, step: Decides) -> None:
        attempt = self.attempts[step.which]
        if objection(self.stands, attempt.attempt_no, step.said) is not None:
            return
        word = Word(attempt.attempt_no, Source.OPERATOR, said_as_report(step.said))
        ruling = rule(self.stands, word, self.terms, self.now)
        if attempt.in_flight:
            assert (ruling.attempt, ruling.order) == (attempt.state, self.status)
        assert ruling.review is None, "a decision opens no review"
        self._follow(step, attempt, ruling)

    def _follow(self, step: Hears | Decides, attempt: Attempt, ruling: Ruling) -> None:
        in_flight = attempt.in_flight and not ruling.ends_flight
        self.attempts[step.which] = replace(
            attempt,
            state=ruling.attempt,
            in_flight=in_flight,
            absent_since=ruling.absent_since or attempt.absent_since,
        )
        self.status = ruling.order
        self.serving = ruling.serves or self.serving
        if ruling.drop_ready:
            self.ready = False
        if ruling.money is not None:
            self._move(ruling.money)
        if ruling.another_dealer:
            self._go_on(step)
        if ruling.dispute:
            self.disputed.add(attempt.attempt_no)
        if ruling.close_dispute_of is not None:
            self.disputed.discard(ruling.close_dispute_of)

    def _go_on(self, step: Hears | Decides) -> None:
        assert not self.ready
        assert not self.open_attempts
        if step.route_stands and len(self.attempts) < MOST_ATTEMPTS:
            self.ready = True
        else:
            self.status = OrderStatus.FAILED
            self._move(Money.RELEASE)

    def _move(self, money: Money) -> None:
        if money in (Money.CAPTURE, Money.RELEASE):
            self.resolutions.append(money)
        else:
            assert self.resolutions, "corrected before it was resolved"
        self.charged += {"capture": 1, "release": 0, "refund": -1, "correction": 1}[money]

    @property
    def open_attempts(self) -> list[Attempt]:
        return [each for each in self.attempts if each.state in OPEN_ATTEMPT]

    @property
    def delivered(self) -> set[int]:
        return {each.attempt_no for each in self.attempts if each.state == AttemptState.SUCCEEDED}


def lived(terms: Terms, taken: list[object]) -> Life:
    life = Life(terms)
    for step in taken:
        life.take(step)
        check_money(life)
        check_purchases(life)
    return life


def check_money(life: Life) -> None:
    is_open = life.status in OPEN_ORDER
    assert len(life.resolutions) == (0 if is_open else 1)
    assert life.charged == (1 if life.status == OrderStatus.SUCCEEDED else 0)


def check_purchases(life: Life) -> None:
    assert len(life.open_attempts) + life.ready <= 1
    assert not life.ready or life.status in OPEN_ORDER
    if life.status == OrderStatus.SUCCEEDED:
        assert life.delivered
    if life.status in (OrderStatus.FAILED, OrderStatus.REVERSED):
        assert not life.delivered


plain_words = st.builds(
    Hears,
    st.integers(0, MOST_ATTEMPTS - 1),
    st.sampled_from([SUCCESS, SUCCESS, REFUSAL, REVERSAL]),
    st.just(Source.CALLBACK),
    st.just(0),
    st.just(False),
    st.just(True),
)
lives = st.lists(steps, min_size=6, max_size=40)
terms = st.sampled_from([ASKABLE, ASKABLE, RESENDING, MUTE])


@settings(max_examples=400)
@given(terms, lives)
def test_money_and_purchases_agree_after_any_sequence_of_words(terms: Terms, taken: list[object]):
    life = lived(terms, taken)  # checks both after every step
    check_money(life)
    check_purchases(life)


@settings(max_examples=400)
@given(st.lists(st.one_of(plain_words, st.just(Claims())), min_size=4, max_size=16))
def test_every_purchase_but_the_serving_one_is_disputed(taken: list[object]):
    life = lived(ASKABLE, taken)
    serving = 1 if life.status == OrderStatus.SUCCEEDED else 0
    assert life.disputed <= life.delivered
    assert len(life.delivered - life.disputed) == serving


@settings(max_examples=200)
@given(terms, lives)
def test_an_open_order_is_always_in_somebodys_hands(terms: Terms, taken: list[object]):
    life = lived(terms, taken)
    assert life.status not in OPEN_ORDER or life.ready or life.open_attempts
