"""The two international dialects, spoken to by hand: every pair of digits, tokens, refusals."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any, ClassVar

import httpx
import pytest

from tests.dealers.simulator.buyers import plain_client
from tests.dealers.simulator.receiver import Receiver
from tests.dealers.simulator.simulators import QUICK, RunningSimulator, simulator
from tests.dealers.simulator.test_digits import LIVES, number

SKUS = {"pulau": "1187:5000", "benua": "6035"}


def _configuration(callback_url: str) -> dict[str, Any]:
    def dealer(dealer_id: str, protocol: str, **credentials: str) -> dict[str, Any]:
        return {
            "dealer_id": dealer_id,
            "protocol": protocol,
            "credentials": credentials,
            "callback_url": f"{callback_url}/{dealer_id}",
            "balance_rupiah": 1_000_000,
            "prices": {SKUS.get(dealer_id, "1187:5000"): 5000},
        }

    keys = {"client_id": "toko", "client_secret": "kunci"}
    return {
        "dealers": [
            dealer("pulau", "reloadly", **keys, webhook_secret="rahasia"),
            dealer("sebentar", "reloadly", **keys, token_seconds="-1"),
            dealer("benua", "dtone", api_key="toko", api_secret="kunci"),
        ],
        "timing": QUICK,
    }


class ReloadlyBuyer:
    dealer_id = "pulau"

    def __init__(self, url: str, dealer_id: str = "pulau") -> None:
        self.url = f"{url}/{dealer_id}"

    def token(self, secret: str = "kunci") -> httpx.Response:
        fields = {"client_id": "toko", "client_secret": secret, "grant_type": "client_credentials"}
        with plain_client() as client:
            return client.post(f"{self.url}/oauth/token", json=fields)

    def call(
        self, method: str, page: str, timeout_seconds: float = 5, **more: Any
    ) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.token().json()['access_token']}"}
        with plain_client(timeout_seconds) as client:
            return client.request(method, f"{self.url}/{page}", headers=headers, **more)

    def buy(self, number: str, ref: str, timeout_seconds: float = 5) -> httpx.Response:
        fields = {
            "operatorId": 1187,
            "amount": "5000",
            "useLocalAmount": True,
            "customIdentifier": ref,
            "recipientPhone": {"countryCode": "ID", "number": f"+62{number[1:]}"},
        }
        return self.call("POST", "topups-async", timeout_seconds, json=fields)

    def state(self, ref: str) -> str | None:
        page = self.call("GET", f"topups/reports/transactions?customIdentifier={ref}").json()
        assert len(page["content"]) <= 1
        return page["content"][0]["status"] if page["content"] else None

    def balance(self) -> int:
        return self.call("GET", "accounts/balance").json()["balance"]

    def said(self, body: bytes) -> tuple[str, str]:
        event = json.loads(body)
        assert event["type"] == "airtime_transaction.status"
        return event["data"]["customIdentifier"], event["data"]["status"]

    first = staticmethod(lambda answer: answer.get("status", "PROCESSING"))
    states: ClassVar = {
        "succeeded": "SUCCESSFUL",
        "failed": "FAILED",
        "refunded": "REFUNDED",
        "pending": "PROCESSING",
    }


class DtoneBuyer:
    dealer_id = "benua"

    def __init__(self, url: str) -> None:
        self.url = f"{url}/benua"

    def call(
        self, method: str, page: str, timeout_seconds: float = 5, **more: Any
    ) -> httpx.Response:
        with plain_client(timeout_seconds) as client:
            return client.request(method, f"{self.url}/{page}", auth=("toko", "kunci"), **more)

    def buy(self, number: str, ref: str, timeout_seconds: float = 5) -> httpx.Response:
        fields = {
            "external_id": ref,
            "product_id": 6035,
            "auto_confirm": True,
            "credit_party_identifier": {"mobile_number": f"+62{number[1:]}"},
        }
        return self.call("POST", "async/transactions", timeout_seconds, json=fields)

    def state(self, ref: str) -> str | None:
        listed = self.call("GET", f"transactions?external_id={ref}").json()
        assert len(listed) <= 1
        return listed[0]["status"]["class"]["message"] if listed else None

    def balance(self) -> int:
        (wallet,) = self.call("GET", "balances").json()
        return wallet["available"]

    def said(self, body: bytes) -> tuple[str, str]:
        transaction = json.loads(body)
        return transaction["external_id"], transaction["status"]["class"]["message"]

    first = staticmethod(lambda answer: answer["status"]["class"]["message"])
    states: ClassVar = {
        "succeeded": "COMPLETED",
        "failed": "DECLINED",
        "refunded": "REVERSED",
        "pending": "SUBMITTED",
    }


Buyer = ReloadlyBuyer | DtoneBuyer


@pytest.fixture(scope="module")
def running(
    receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningSimulator]:
    folder = tmp_path_factory.mktemp("simulator")
    with simulator(folder, _configuration(receiver.url)) as started:
        yield started


@pytest.fixture(scope="module", params=[ReloadlyBuyer, DtoneBuyer])
def buyer(request: pytest.FixtureRequest, running: RunningSimulator) -> Buyer:
    return request.param(running.url)


def _first(buyer: Buyer, digits: str) -> str:
    try:
        answer = buyer.buy(number(digits), f"D{digits}", timeout_seconds=0.5)
    except httpx.TimeoutException:
        return "timeout"
    except httpx.TransportError:
        return "cut"
    if answer.status_code >= 400:
        return f"http-{answer.status_code}"
    try:
        return buyer.first(answer.json())
    except ValueError:
        return "garbage"


@pytest.fixture(scope="module")
def firsts(buyer: Buyer, running: RunningSimulator) -> dict[str, str]:
    words = {digits: _first(buyer, digits) for digits in LIVES}
    running.finish_agenda()
    return words


@pytest.mark.parametrize("digits", LIVES)
def test_the_first_answer_is_what_the_digits_promise(
    firsts: dict[str, str], buyer: Buyer, digits: str
) -> None:
    due = LIVES[digits].first
    expected = buyer.states.get(due, due)
    if isinstance(buyer, ReloadlyBuyer) and digits == "74":
        expected = "http-400"  # It refuses a wrong number before it takes the order.
    assert firsts[digits] == expected


@pytest.mark.parametrize("digits", LIVES)
def test_the_book_the_callbacks_and_the_status_agree_with_the_digits(
    firsts: dict[str, str],
    buyer: Buyer,
    running: RunningSimulator,
    receiver: Receiver,
    digits: str,
) -> None:
    life, ref = LIVES[digits], f"D{digits}"
    rows = [row for row in running.delivered(ref) if row["dealer"] == buyer.dealer_id]
    assert len(rows) == life.delivered
    for row in rows:
        assert (row["customer_number"], row["sku"]) == (number(digits), SKUS[buyer.dealer_id])
    ours = [taken for taken in receiver.taken if taken.path.startswith(f"/{buyer.dealer_id}")]
    told = [buyer.said(taken.body) for taken in ours]
    assert [state for named, state in told if named == ref] == [
        buyer.states[kind] for kind in life.callbacks
    ]
    assert buyer.state(ref) == buyer.states[life.after]


def test_the_deposit_pays_for_what_stayed_delivered(firsts: dict[str, str], buyer: Buyer) -> None:
    kept = sum(life.delivered and life.after == "succeeded" for life in LIVES.values())
    assert buyer.balance() == 1_000_000 - 5000 * kept


@pytest.mark.parametrize("digits", ["76", "83"])
def test_a_lost_purchase_is_not_known(buyer: Buyer, digits: str) -> None:
    try:
        assert buyer.buy(number(digits), f"GONE{digits}").status_code == 503
    except httpx.TransportError:
        assert digits == "76"
    assert buyer.state(f"GONE{digits}") is None


def test_a_reference_that_is_sent_again_is_refused_and_not_delivered_again(
    buyer: Buyer, running: RunningSimulator
) -> None:
    ref = f"AGAIN{buyer.dealer_id.upper()}"
    assert buyer.buy(number("01"), ref).is_success
    answer = buyer.buy(number("01"), ref)
    assert answer.status_code == 400
    assert "CUSTOM_IDENTIFIER_ALREADY_USED" in answer.text or "1007001" in answer.text
    assert len(running.delivered(ref)) == 1


def test_refusals_name_their_reason(running: RunningSimulator) -> None:
    reloadly, dtone = ReloadlyBuyer(running.url), DtoneBuyer(running.url)
    assert reloadly.buy(number("73"), "R73").json()["errorCode"] == "OPERATOR_NOT_IN_SERVICE"
    assert reloadly.buy(number("74"), "R74").json()["errorCode"] == "INVALID_RECIPIENT_PHONE"
    assert dtone.buy(number("73"), "R73").json()["errors"][0]["code"] == 1007500
    declined = dtone.buy(number("74"), "R74").json()
    assert declined["status"]["message"] == "DECLINED-INVALID-CREDIT-PARTY"


def test_reloadly_signs_its_webhooks(firsts: dict[str, str], receiver: Receiver) -> None:
    events = [taken for taken in receiver.taken if taken.path.startswith("/pulau")]
    assert events or "PROCESSING" not in firsts.values()
    for event in events:
        headers = {name.lower(): value for name, value in event.headers.items()}
        timestamp = headers["x-reloadly-request-timestamp"]
        signed = event.body + f":{timestamp}".encode()
        seal = hmac.new(b"rahasia", signed, hashlib.sha256).hexdigest()
        assert headers["x-reloadly-signature"] == seal


def test_a_token_is_given_for_the_secret_only_and_ends(running: RunningSimulator) -> None:
    buyer = ReloadlyBuyer(running.url)
    given = buyer.token().json()
    assert (given["token_type"], given["expires_in"]) == ("Bearer", 86400)
    assert buyer.token("wrong").status_code == 401
    over = ReloadlyBuyer(running.url, "sebentar").call("GET", "accounts/balance")
    assert (over.status_code, over.json()["errorCode"]) == (401, "TOKEN_EXPIRED")


@pytest.mark.parametrize(
    "authorization", ["", "Bearer x", "Bearer -", "Bearer 9e9-\u00e9", "Basic x"]
)
@pytest.mark.parametrize(
    ("dealer_id", "page"), [("pulau", "accounts/balance"), ("benua", "balances")]
)
def test_nobody_is_served_without_the_right_credentials(
    running: RunningSimulator, dealer_id: str, page: str, authorization: str
) -> None:
    headers = {"authorization": authorization.encode("latin-1")}
    with plain_client() as client:
        answer = client.get(f"{running.url}/{dealer_id}/{page}", headers=headers)
    assert answer.status_code == 401


def test_dtone_lists_its_products(running: RunningSimulator) -> None:
    (product,) = DtoneBuyer(running.url).call("GET", "products").json()
    assert product["id"] == 6035
    assert product["prices"]["wholesale"]["amount"] == 5000


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"external_id": "X"}'])
def test_a_purchase_that_cannot_be_read_is_refused(buyer: Buyer, body: bytes) -> None:
    page = "topups-async" if isinstance(buyer, ReloadlyBuyer) else "async/transactions"
    assert buyer.call("POST", page, content=body).status_code == 400
