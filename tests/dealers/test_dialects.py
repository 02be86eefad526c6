"""Every protocol against the simulator's dialect of the same name, without a socket between them.

The two share no code: what one sends and words, the other must understand.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import cast
from urllib.parse import urlsplit

import pytest

from dealers.contract import Account, Answer, Callback, Fault, Outcome, Recovery, Report, Request
from dealers.registry import Dialect as Known
from dealers.registry import load
from dealers.simulator import dialects
from dealers.simulator.behaviour import Reason, State
from dealers.simulator.book import Purchase
from dealers.simulator.config import Dealer
from dealers.simulator.dialect import Ask, Dialect, Incoming, Reply
from dealers.simulator.standalone import sku_of
from tests.dealers.recorded import ORDER, account
from tests.dealers.simulator.simulators import options_at

BALANCE_RUPIAH = 990_850
PRICE_RUPIAH = 10_150
SERIAL_NUMBER = "410000000000000007"
CALLBACK_URL = "https://jalur.example/v1/callbacks/d1?token=t"

_BASE_URL = "http://simulator.example/d1"


class Pair:
    """One protocol with the dialect that answers it, and our account between them."""

    def __init__(self, known: Known, dialect: Dialect) -> None:
        self.known, self.dialect = known, dialect
        self.order = replace(ORDER, dealer_sku=sku_of(known.name, "X", 10))
        recorded = account(known.name)
        options = {**recorded.options, **options_at(known.name, _BASE_URL)}
        self.account = replace(recorded, base_url=_BASE_URL, options=options)
        self.dealer = Dealer(
            dealer_id="d1",
            protocol=known.name,
            credentials=self.account.credentials,
            prices={self.order.dealer_sku: PRICE_RUPIAH},
            callback_url=CALLBACK_URL,
        )
        if known.logs_in:
            session = known.read_log_in(self.account, self.reply(known.log_in(self.account)))
            self.account = replace(self.account, session=session.token)

    def read(self, request: Request) -> Ask | Reply:
        return self.dialect.read(self.dealer, _incoming(request), BALANCE_RUPIAH)

    def ask(self, request: Request) -> Ask:
        asked = self.read(request)
        assert isinstance(asked, Ask), asked
        return asked

    def reply(self, request: Request) -> Answer:
        reply = self.read(request)
        assert isinstance(reply, Reply), reply
        return _answer(reply)

    def bought(self, reply: Reply) -> Report:
        return self.known.read_top_up(self.account, self.order, _answer(reply))

    def recalled(self, purchase: Purchase | None) -> Report:
        asked = self.ask(self.known.status(self.account, self.order))
        reply = self.dialect.recall(self.dealer, asked, purchase, BALANCE_RUPIAH)
        return self.known.read_status(self.account, self.order, _answer(reply))

    def purchase(self, state: State, reason: Reason | None = None) -> Purchase:
        return replace(_purchase(state, reason), sku=self.order.dealer_sku)

    @property
    def can_ask(self) -> bool:
        return self.known.capabilities_of(self.account).recovery is not Recovery.NONE


def _pairs() -> list[Pair]:
    spoken = dialects.names()
    found = {name: known for name, known in load().items() if name in spoken}
    return [Pair(known, dialects.find_dialect(name)) for name, known in found.items()]


def _incoming(request: Request) -> Incoming:
    address = urlsplit(request.url)
    prefix = urlsplit(_BASE_URL).path
    assert address.path.startswith(prefix)
    return Incoming(
        method=request.method,
        action=address.path.removeprefix(prefix).removeprefix("/"),
        query=address.query.encode(),
        body=request.body,
        headers={name.lower().encode(): value.encode() for name, value in request.headers.items()},
    )


def _answer(reply: Reply) -> Answer:
    return Answer(reply.status, {"content-type": reply.content_type.decode()}, reply.body)


def _purchase(state: State, reason: Reason | None = None) -> Purchase:
    return Purchase(
        dealer_id="d1",
        dealer_ref=ORDER.dealer_ref,
        customer_number=ORDER.customer_number,
        sku=ORDER.dealer_sku,
        number=7,
        price_rupiah=PRICE_RUPIAH,
        digits="00",
        state=state,
        callback_url=CALLBACK_URL,
        created_at=1_800_000_000.0,
        reason=reason,
        serial_number=SERIAL_NUMBER if state is State.SUCCEEDED else "",
    )


def _is_success(report: Report) -> bool:
    told = report.price_rupiah in (None, PRICE_RUPIAH)
    return report.outcome is Outcome.SUCCEEDED and report.serial_number == SERIAL_NUMBER and told


@pytest.fixture(params=_pairs(), ids=lambda pair: pair.known.name)
def pair(request: pytest.FixtureRequest) -> Pair:
    return cast(Pair, request.param)


def test_every_dialect_belongs_to_a_protocol():
    assert set(dialects.names()) <= load().keys()


def test_both_name_the_same_credentials(pair: Pair):
    wanted = {*pair.dialect.CREDENTIALS, *pair.dialect.OPTIONAL_CREDENTIALS}
    assert wanted <= {each.name for each in pair.known.credentials}


def test_a_purchase_is_understood(pair: Pair):
    asked = pair.ask(pair.known.top_up(pair.account, pair.order))

    assert (asked.dealer_ref, asked.sku) == (ORDER.dealer_ref, pair.order.dealer_sku)
    assert asked.customer_number == ORDER.customer_number
    assert not asked.only_status


def test_a_second_purchase_that_day_is_understood(pair: Pair):
    asked = pair.ask(pair.known.top_up(pair.account, replace(pair.order, counter=2)))

    assert asked.customer_number == ORDER.customer_number


def test_a_purchase_signed_with_other_secrets_is_no_purchase(pair: Pair):
    stranger = replace(
        pair.account,
        credentials={name: f"x{value}" for name, value in pair.account.credentials.items()},
        session=None if pair.account.session is None else f"x{pair.account.session}",
    )
    reply = pair.read(pair.known.top_up(stranger, pair.order))

    assert isinstance(reply, Reply)
    assert pair.bought(reply).outcome not in (Outcome.SUCCEEDED, Outcome.PENDING)


def test_the_answer_to_a_purchase_is_understood(pair: Pair):
    def confirmed(state: State, reason: Reason | None = None) -> Report:
        purchase = pair.purchase(state, reason)
        return pair.bought(pair.dialect.confirm(pair.dealer, purchase, BALANCE_RUPIAH))

    # Some dealers only ever say that they took it.
    taken = confirmed(State.PENDING)
    assert taken.outcome is Outcome.PENDING
    succeeded, failed = confirmed(State.SUCCEEDED), confirmed(State.FAILED, Reason.WRONG_NUMBER)
    assert succeeded.outcome is Outcome.PENDING or _is_success(succeeded)
    wrong_number = (failed.outcome, failed.fault) == (Outcome.FAILED, Fault.NUMBER)
    assert failed.outcome is Outcome.PENDING or wrong_number


@pytest.mark.parametrize("reason", [Reason.STOCK, Reason.PRICE, Reason.UNKNOWN_PRODUCT])
def test_a_refusal_lets_another_dealer_serve(pair: Pair, reason: Reason):
    asked = pair.ask(pair.known.top_up(pair.account, pair.order))
    read = pair.bought(pair.dialect.refuse(pair.dealer, asked, reason, BALANCE_RUPIAH))

    assert read.outcome is Outcome.REJECTED
    assert read.fault is not Fault.NUMBER


@pytest.mark.parametrize(
    ("state", "reason", "outcome", "fault"),
    [
        (State.SUCCEEDED, None, Outcome.SUCCEEDED, Fault.PRODUCT),
        (State.PENDING, None, Outcome.PENDING, Fault.PRODUCT),
        (State.FAILED, Reason.DISRUPTED, Outcome.FAILED, Fault.PRODUCT),
        (State.FAILED, Reason.WRONG_NUMBER, Outcome.FAILED, Fault.NUMBER),
        (State.REFUNDED, None, Outcome.FAILED, Fault.PRODUCT),
    ],
)
def test_the_stored_state_is_understood(
    pair: Pair, state: State, reason: Reason | None, outcome: Outcome, fault: Fault
):
    if not pair.can_ask:
        pytest.skip("it cannot be asked")
    read = pair.recalled(pair.purchase(state, reason))

    assert read.outcome is outcome
    # Some dealers do not say why.
    assert read.fault in (fault, Fault.PRODUCT)
    assert state is not State.SUCCEEDED or _is_success(read)


def test_what_the_dealer_does_not_know_is_unknown(pair: Pair):
    if not pair.can_ask:
        pytest.skip("it cannot be asked")

    assert pair.recalled(None).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("claim", "outcome"),
    [(State.SUCCEEDED, Outcome.SUCCEEDED), (State.FAILED, Outcome.FAILED)],
)
def test_a_callback_is_understood(pair: Pair, claim: State, outcome: Outcome):
    sent = pair.dialect.callback(pair.dealer, pair.purchase(State.SUCCEEDED), claim, BALANCE_RUPIAH)
    headers = {name.lower(): value for name, value in sent.headers.items()}
    callback = Callback(sent.method, urlsplit(sent.url).query, headers, sent.body)
    read = pair.known.read_callback(pair.account, callback)

    assert sent.url.startswith(CALLBACK_URL)
    assert (read.dealer_ref, read.report.outcome) == (ORDER.dealer_ref, outcome)
    # A hint needs no more than its reference.
    assert not read.verified or claim is not State.SUCCEEDED or _is_success(read.report)


def test_the_balance_is_understood(pair: Pair):
    request = pair.known.balance(pair.account)
    if request is None:
        pytest.skip("it has no balance call")

    read = pair.known.read_balance(pair.account, pair.reply(request))
    assert read.rupiah == BALANCE_RUPIAH


def test_the_price_list_is_understood(pair: Pair):
    request = pair.known.price_list(pair.account)
    if request is None:
        pytest.skip("it has no price list")

    lines = pair.known.read_price_list(pair.account, pair.reply(request))
    sold = [(line.dealer_sku, line.price_rupiah) for line in lines if line.available]
    assert sold == [(pair.order.dealer_sku, PRICE_RUPIAH)]


@pytest.mark.parametrize("question", ["balance", "price_list"])
def test_nobody_else_is_told_our_balance_or_prices(pair: Pair, question: str):
    ask = cast(Callable[[Account], Request | None], getattr(pair.known, question))
    strange = {name: f"x{value}" for name, value in pair.account.credentials.items()}
    session = None if pair.account.session is None else f"x{pair.account.session}"
    request = ask(replace(pair.account, credentials=strange, session=session))
    if request is None or request == ask(pair.account):
        pytest.skip("it has no such call, or tells everybody")

    assert str(BALANCE_RUPIAH).encode() not in pair.reply(request).body
    assert str(PRICE_RUPIAH).encode() not in pair.reply(request).body
