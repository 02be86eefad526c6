"""The protocols themselves as the simulator's buyers, over real connections."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from dealers.contract import Account, Answer, Callback, Outcome, Report, Request, TopUp
from dealers.registry import Dialect, load
from tests.dealers.recorded import account
from tests.dealers.simulator.buyers import plain_client
from tests.dealers.simulator.receiver import Receiver
from tests.dealers.simulator.simulators import RunningSimulator, configuration, simulator

OK, BAD, OPEN, DARK = Outcome.SUCCEEDED, Outcome.FAILED, Outcome.PENDING, Outcome.UNKNOWN
REFUSED = Outcome.REJECTED

LIVES: dict[str, tuple[Outcome, Outcome]] = {
    "00": (OK, OK),
    "70": (OPEN, OK),
    "71": (OPEN, OK),
    "72": (OPEN, BAD),
    "74": (BAD, BAD),
    "78": (OPEN, OK),
    "79": (OPEN, OK),
    "80": (OK, BAD),
    "81": (DARK, OK),
    "82": (DARK, OK),
    "84": (OK, OK),
    "85": (BAD, OK),
    "86": (OK, OK),
    "88": (OPEN, OPEN),
}
"""What the first answer says where it tells the end at once, and what a check says later."""

DEALERS = {
    "iak": ("iak", {}),
    "irs": ("irs", {}),
    "portal": ("portalpulsa", {}),
    "javah2h": ("portalpulsa", {"header_prefix": "h2h"}),
}
"""Protocol and the account's further options."""

ONLY_TAKES = {"iak", "portal", "javah2h"}
"""Dealers whose first answer never tells the end."""


@dataclass(frozen=True)
class ProtocolBuyer:
    dialect: Dialect
    account: Account

    def order(self, digits: str) -> TopUp:
        return TopUp(f"REF{digits}", "S5", f"0812345678{digits}", max_price_rupiah=5500)

    def send(self, request: Request | None) -> Answer:
        assert request is not None
        with plain_client() as client:
            sent = client.request(
                request.method, request.url, headers=dict(request.headers), content=request.body
            )
        return Answer(sent.status_code, dict(sent.headers), sent.content)

    def buy(self, digits: str) -> Report | None:
        """What the answer says; None where the connection was cut."""
        order = self.order(digits)
        try:
            answer = self.send(self.dialect.top_up(self.account, order))
        except httpx.TransportError:
            return None
        return self.dialect.read_top_up(self.account, order, answer)

    def ask(self, digits: str) -> Report:
        order = self.order(digits)
        answer = self.send(self.dialect.status(self.account, order))
        return self.dialect.read_status(self.account, order, answer)


@pytest.fixture(scope="module")
def running(
    receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningSimulator]:
    config: dict[str, Any] = configuration(receiver.url)
    template = config["dealers"][0]
    config["dealers"] = [
        template
        | {
            "dealer_id": dealer_id,
            "protocol": protocol,
            "credentials": dict(account(protocol).credentials),
            "callback_url": f"{receiver.url}/{dealer_id}",
        }
        for dealer_id, (protocol, _) in DEALERS.items()
    ]
    with simulator(tmp_path_factory.mktemp("simulator"), config) as started:
        yield started


@pytest.fixture(scope="module", params=DEALERS)
def shopper(request: pytest.FixtureRequest, running: RunningSimulator) -> ProtocolBuyer:
    protocol, options = DEALERS[request.param]
    recorded = account(protocol)
    ours = replace(
        recorded,
        dealer_id=request.param,
        base_url=f"{running.url}/{request.param}",
        options={**recorded.options, **options},
    )
    return ProtocolBuyer(load()[protocol], ours)


@pytest.fixture(scope="module")
def firsts(shopper: ProtocolBuyer, running: RunningSimulator) -> dict[str, Report | None]:
    """One purchase for each life, and the agenda run dry."""
    answers = {digits: shopper.buy(digits) for digits in (*LIVES, "75")}
    running.finish_agenda()
    return answers


@pytest.mark.parametrize("digits", LIVES)
def test_the_first_answer(
    shopper: ProtocolBuyer, firsts: dict[str, Report | None], digits: str
) -> None:
    report, (due, _) = firsts[digits], LIVES[digits]
    assert report is not None
    if shopper.account.dealer_id in ONLY_TAKES and due is not DARK:
        due = OPEN
    assert report.outcome is due


@pytest.mark.parametrize("digits", [*LIVES, "75"])
def test_a_check_tells_what_the_book_holds(
    shopper: ProtocolBuyer,
    running: RunningSimulator,
    firsts: dict[str, Report | None],
    digits: str,
) -> None:
    report, due = shopper.ask(digits), LIVES.get(digits, (DARK, OK))[1]
    delivered = [
        row
        for row in running.delivered(f"REF{digits}")
        if row["dealer"] == shopper.account.dealer_id
    ]
    assert report.outcome is due
    assert len(delivered) == (due is OK or digits == "80")
    assert due is not OK or report.serial_number


@pytest.mark.usefixtures("firsts")
def test_the_callbacks_of_every_life_are_read(shopper: ProtocolBuyer, receiver: Receiver) -> None:
    ours = f"/{shopper.account.dealer_id}"
    read = [
        shopper.dialect.read_callback(
            shopper.account,
            Callback(each.method, each.path.partition("?")[2], each.headers, each.body),
        )
        for each in receiver.taken
        if each.path.partition("?")[0] == ours
    ]
    told = sorted((each.dealer_ref, each.report.outcome) for each in read)
    assert told == [
        ("REF70", OK),
        ("REF72", BAD),
        ("REF78", OK),
        ("REF78", OK),
        ("REF78", OK),
        ("REF79", BAD),
        ("REF79", OK),
        ("REF80", BAD),
        ("REF84", OK),
        ("REF85", OK),
    ]
    assert not any(each.verified for each in read)


def test_a_refusal_creates_nothing(shopper: ProtocolBuyer, running: RunningSimulator) -> None:
    report = shopper.buy("73")
    assert report is not None
    assert report.outcome is REFUSED
    assert running.delivered("REF73") == []


def test_a_purchase_that_never_arrived_is_not_taken_for_one(
    shopper: ProtocolBuyer, running: RunningSimulator
) -> None:
    assert shopper.buy("76") is None
    report = shopper.ask("76")
    if shopper.account.dealer_id == "irs":
        # There the check is the purchase, and this one arrives.
        assert report.outcome is OK
    else:
        assert (report.outcome, report.not_found) == (DARK, True)


def test_balance_and_prices(shopper: ProtocolBuyer, running: RunningSimulator) -> None:
    dialect, ours = shopper.dialect, shopper.account
    if dialect.balance(ours) is None:
        pytest.skip("it has neither")
    purchases = [row for row in running.get("purchases") if row["dealer"] == ours.dealer_id]
    charged = sum(row["price_rupiah"] for row in purchases if row["state"] == "succeeded")
    balance = dialect.read_balance(ours, shopper.send(dialect.balance(ours)))
    (line,) = dialect.read_price_list(ours, shopper.send(dialect.price_list(ours)))
    assert balance.rupiah == 1_000_000 - charged
    assert (line.dealer_sku, line.price_rupiah, line.available) == ("S5", 5000, True)
