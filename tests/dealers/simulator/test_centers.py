"""The centers whose callbacks nobody signs: what they say, read as the router reads it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import pytest

from dealers.contract import Account, Answer, Callback, DealerPrice, Outcome, Report, Request, TopUp
from dealers.registry import Dialect, load
from tests.dealers.simulator.buyers import plain_client
from tests.dealers.simulator.receiver import Received, Receiver
from tests.dealers.simulator.simulators import QUICK, RunningSimulator, simulator

OKE = {"memberID": "OK1", "pin": "1144", "password": "abcd"}
OLD = {"DealerID": "2009", "PIN": "1144"}
OLD_CODES = {
    "success_codes": "00",
    "failure_codes": "01",
    "number_codes": "16,416",
    "reversal_codes": "25",
    "refusal_codes": "401,404,410,416",
}
OK, BAD, REJECTED = Outcome.SUCCEEDED, Outcome.FAILED, Outcome.REJECTED
PENDING, UNKNOWN = Outcome.PENDING, Outcome.UNKNOWN


@dataclass
class Customer:
    """The router's own protocol, spoken to the simulator."""

    dialect: Dialect
    account: Account
    receiver: Receiver
    bought: dict[str, TopUp] = field(default_factory=dict[str, TopUp])

    def _send(self, request: Request) -> Answer | None:
        try:
            with plain_client() as client:
                answer = client.request(
                    request.method, request.url, headers=request.headers, content=request.body
                )
        except httpx.TransportError:
            return None
        return Answer(answer.status_code, {}, answer.content)

    def buy(self, digits: str) -> Report:
        order = TopUp(f"R{digits}", "S5", f"08123456{digits}", 5500)
        self.bought[order.dealer_ref] = order
        answer = self._send(self.dialect.top_up(self.account, order))
        if answer is None:
            return Report(UNKNOWN, "cut")
        return self.dialect.read_top_up(self.account, order, answer)

    def check(self, digits: str) -> Report:
        order = self.bought[f"R{digits}"]
        answer = self._send(self.dialect.status(self.account, order))
        assert answer is not None
        return self.dialect.read_status(self.account, order, answer)

    def balance(self) -> int:
        answer = self._send(self.dialect.balance(self.account))
        assert answer is not None
        return self.dialect.read_balance(self.account, answer).rupiah

    def price_list(self) -> list[DealerPrice]:
        request = self.dialect.price_list(self.account)
        assert request is not None
        answer = self._send(request)
        assert answer is not None
        return self.dialect.read_price_list(self.account, answer)

    def told(self, digits: str) -> list[Report]:
        ours = [each for each in self.receiver.taken if each.path.startswith(f"/{self.name}")]
        read = [self.dialect.read_callback(self.account, _callback(each)) for each in ours]
        assert not [each for each in read if each.verified]
        return [each.report for each in read if each.dealer_ref == f"R{digits}"]

    @property
    def name(self) -> str:
        return self.account.dealer_id


def _callback(received: Received) -> Callback:
    return Callback(received.method, urlsplit(received.path).query, received.headers, received.body)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(scope="module")
def running(
    receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningSimulator]:
    dealers = [
        {
            "dealer_id": protocol,
            "protocol": protocol,
            "credentials": credentials,
            "callback_url": f"{receiver.url}/{protocol}",
            "balance_rupiah": 1_000_000,
            "prices": {"S5": 5000},
        }
        for protocol, credentials in {"okeconnect": OKE, "xmlrpc_center": OLD}.items()
    ]
    folder = tmp_path_factory.mktemp("simulator")
    with simulator(folder, {"dealers": dealers, "timing": QUICK}) as started:
        yield started


@pytest.fixture(scope="module")
def oke(running: RunningSimulator, receiver: Receiver) -> Customer:
    options = {"price_list_url": f"{running.url}/okeconnect/harga/json?id=1"}
    at = Account("okeconnect", f"{running.url}/okeconnect", OKE, options)
    assert load()["okeconnect"].validate(at) == []
    return Customer(load()["okeconnect"], at, receiver)


@pytest.fixture(scope="module")
def old(running: RunningSimulator, receiver: Receiver) -> Customer:
    at = Account("xmlrpc_center", f"{running.url}/xmlrpc_center", OLD, OLD_CODES)
    assert load()["xmlrpc_center"].validate(at) == []
    return Customer(load()["xmlrpc_center"], at, receiver)


OKE_LIVES: dict[str, tuple[Outcome, list[Outcome], Outcome]] = {
    "00": (OK, [], OK),
    "70": (PENDING, [OK], OK),
    "72": (PENDING, [BAD], BAD),
    "73": (REJECTED, [], UNKNOWN),
    "74": (BAD, [], BAD),
    "75": (UNKNOWN, [], OK),
    "78": (PENDING, [OK, OK, OK], OK),
    "79": (PENDING, [OK, BAD], OK),
    "80": (OK, [UNKNOWN], BAD),
    "81": (UNKNOWN, [], OK),
    "83": (UNKNOWN, [], UNKNOWN),
    "85": (BAD, [OK], OK),
    "88": (PENDING, [], PENDING),
}
"""Digits to the first answer, the callbacks, and the check afterwards."""

OLD_LIVES: dict[str, tuple[Outcome, list[Outcome]]] = {
    "00": (PENDING, [OK]),
    "70": (PENDING, [OK]),
    "72": (PENDING, [BAD]),
    "73": (REJECTED, []),
    "74": (PENDING, [BAD]),
    "75": (UNKNOWN, [OK]),
    "76": (UNKNOWN, []),
    "78": (PENDING, [OK, OK, OK]),
    "79": (PENDING, [OK, BAD]),
    "80": (PENDING, [OK, BAD]),
    "82": (UNKNOWN, [OK]),
    "84": (PENDING, [OK, OK]),
    "85": (PENDING, [BAD, OK]),
    "88": (PENDING, []),
}
"""Digits to the first answer and the callbacks: there is nothing to ask."""


def test_okeconnect_lives_as_the_digits_promise(oke: Customer, running: RunningSimulator) -> None:
    firsts = {digits: oke.buy(digits) for digits in OKE_LIVES}
    running.finish_agenda()
    lives = {
        digits: (
            firsts[digits].outcome,
            [report.outcome for report in oke.told(digits)],
            oke.check(digits).outcome,
        )
        for digits in OKE_LIVES
    }

    assert lives == OKE_LIVES
    assert oke.check("80").reversal
    assert oke.check("70").serial_number
    assert oke.check("70").price_rupiah == 5000
    assert oke.balance() == 1_000_000 - 5000 * len(running.get("book")) + 5000


def test_okeconnect_tells_its_bills_as_not_for_sale(oke: Customer) -> None:
    assert [(line.dealer_sku, line.price_rupiah, line.available) for line in oke.price_list()] == [
        ("S5", 5000, True),
        ("BPLA", -1150, False),
    ]


def test_a_wrong_pin_is_told_of_nobodys_reference(oke: Customer) -> None:
    at = Account("okeconnect", oke.account.base_url, {**OKE, "pin": "1"}, oke.account.options)

    assert Customer(oke.dialect, at, oke.receiver).buy("90").code == "other-reference"


def test_an_xmlrpc_center_tells_every_result_by_callback(
    old: Customer, running: RunningSimulator
) -> None:
    firsts = {digits: old.buy(digits) for digits in OLD_LIVES}
    running.finish_agenda()
    lives = {
        digits: (firsts[digits].outcome, [report.outcome for report in old.told(digits)])
        for digits in OLD_LIVES
    }

    assert lives == OLD_LIVES
    assert [report.reversal for report in old.told("80")] == [False, True]
    assert [bool(report.serial_number) for report in old.told("84")] == [False, True]
    assert old.told("74")[0].fault == "number"


def test_an_xmlrpc_center_takes_a_reference_once(old: Customer, running: RunningSimulator) -> None:
    assert old.buy("91").outcome is PENDING
    assert old.buy("91").outcome is PENDING
    assert len([row for row in running.delivered("R91") if row["dealer"] == "xmlrpc_center"]) == 1


def test_an_xmlrpc_center_refuses_a_wrong_pin(old: Customer) -> None:
    at = Account("xmlrpc_center", old.account.base_url, {**OLD, "PIN": "1"}, OLD_CODES)

    assert Customer(old.dialect, at, old.receiver).buy("92").code == "401"
