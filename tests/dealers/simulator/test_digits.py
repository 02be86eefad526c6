"""Every pair of digits, in every dialect: the first answer, the callbacks, the book, the status."""

from dataclasses import dataclass

import pytest

from tests.dealers.simulator.buyers import (
    Buyer,
    DigiflazzBuyer,
    JalurBuyer,
    OtomaxBuyer,
    Word,
    plain_client,
)
from tests.dealers.simulator.receiver import Receiver
from tests.dealers.simulator.simulators import RunningSimulator

OK, BAD, BACK = "succeeded", "failed", "refunded"


@dataclass(frozen=True)
class Life:
    """What the digits promise; `after` is the status once the agenda is empty."""

    first: str
    after: str
    callbacks: tuple[str, ...] = ()
    delivered: bool = True


LIVES = {
    "00": Life(OK, OK),
    "69": Life(OK, OK),
    "70": Life("pending", OK, (OK,)),
    "71": Life("pending", OK),
    "72": Life("pending", BAD, (BAD,), delivered=False),
    "74": Life(BAD, BAD, delivered=False),
    "75": Life("cut", OK),
    "77": Life("timeout", OK),
    "78": Life("pending", OK, (OK, OK, OK)),
    "79": Life("pending", OK, (OK, BAD)),
    "80": Life(OK, BACK, (BACK,)),
    "81": Life("garbage", OK),
    "82": Life("http-500", OK),
    "84": Life(OK, OK, (OK,)),
    "85": Life(BAD, OK, (OK,)),
    "86": Life(OK, OK),
    "88": Life("pending", "pending", delivered=False),
    "90": Life(OK, OK),
}
"""Digits that leave a purchase behind; those that do not have tests of their own."""


def number(digits: str) -> str:
    return f"08123456{digits}"


@pytest.fixture(scope="module")
def firsts(buyer: Buyer, running: RunningSimulator) -> dict[str, Word]:
    """One purchase for each life, and the agenda run dry."""
    words = {
        digits: buyer.buy(number(digits), f"D{digits}", timeout_seconds=0.5) for digits in LIVES
    }
    running.finish_agenda()
    return words


@pytest.mark.parametrize("digits", LIVES)
def test_the_first_answer_is_what_the_digits_promise(firsts: dict[str, Word], digits: str) -> None:
    assert firsts[digits].kind == LIVES[digits].first


@pytest.mark.parametrize("digits", LIVES)
def test_the_book_holds_what_was_really_delivered(
    firsts: dict[str, Word], buyer: Buyer, running: RunningSimulator, digits: str
) -> None:
    rows = [row for row in running.delivered(f"D{digits}") if row["dealer"] == buyer.dealer_id]
    assert len(rows) == LIVES[digits].delivered
    for row in rows:
        assert (row["customer_number"], row["sku"]) == (number(digits), "S5")
        assert row["delivered_at"] is not None
        assert (row["reversed_at"] is not None) == (digits == "80")


@pytest.mark.parametrize("digits", LIVES)
def test_the_callbacks_are_what_the_digits_promise(
    firsts: dict[str, Word], buyer: Buyer, receiver: Receiver, digits: str
) -> None:
    ours = [taken for taken in receiver.taken if taken.path.startswith(f"/{buyer.dealer_id}")]
    told = [buyer.read_callback(taken) for taken in ours]
    kinds = tuple(word.kind for ref, word in told if ref == f"D{digits}")
    assert kinds == LIVES[digits].callbacks


@pytest.mark.parametrize("digits", LIVES)
def test_the_status_tells_the_truth(firsts: dict[str, Word], buyer: Buyer, digits: str) -> None:
    word = buyer.status(number(digits), f"D{digits}")
    assert word.kind == LIVES[digits].after
    assert word.serial_number or word.kind != OK


def test_a_late_serial_number_is_missing_at_first_and_comes_by_callback(
    firsts: dict[str, Word], buyer: Buyer, receiver: Receiver
) -> None:
    assert firsts["84"].serial_number == ""
    ours = [taken for taken in receiver.taken if taken.path.startswith(f"/{buyer.dealer_id}")]
    told = dict(buyer.read_callback(taken) for taken in ours)
    assert told["D84"].serial_number == buyer.status(number("84"), "D84").serial_number != ""


def test_the_deposit_pays_for_what_stayed_delivered(firsts: dict[str, Word], buyer: Buyer) -> None:
    kept = sum(life.delivered and life.after == OK for life in LIVES.values())
    assert buyer.balance() == 1_000_000 - 5000 * kept


@pytest.mark.parametrize(
    ("digits", "digiflazz_code", "otomax_reason", "jalur_code"),
    [
        ("73", "68", "Stok Kosong", "no-route"),
        ("87", "69", "Harga Tidak Sesuai", "price-above-limit"),
    ],
)
def test_a_refusal_names_its_reason_and_leaves_nothing(
    running: RunningSimulator,
    digits: str,
    digiflazz_code: str,
    otomax_reason: str,
    jalur_code: str,
) -> None:
    ref = f"REFUSED{digits}"
    digiflazz, otomax = DigiflazzBuyer(running.url), OtomaxBuyer(running.url)
    assert digiflazz.buy(number(digits), ref) == Word("rejected", digiflazz_code)
    assert otomax.buy(number(digits), ref) == Word("rejected", otomax_reason)
    assert otomax.status(number(digits), ref).kind == "not-found"
    jalur = JalurBuyer(running.url)
    assert jalur.buy(number(digits), ref) == Word("rejected", jalur_code)
    assert jalur.status(number(digits), ref).kind == "not-found"
    assert ref not in {row["dealer_ref"] for row in running.get("purchases")}


def test_a_risen_price_refuses_only_a_buyer_who_set_a_limit(running: RunningSimulator) -> None:
    buyer = DigiflazzBuyer(running.url)
    call = buyer.post(
        "transaction", "FREE87", ref_id="FREE87", buyer_sku_code="S5", customer_no=number("87")
    )
    assert buyer.buy(number("87"), "BOUND87").code == "69"
    with plain_client() as client:
        assert buyer.read(client.send(call).content).kind == OK


def test_a_failure_names_its_fault(running: RunningSimulator) -> None:
    digiflazz, otomax = DigiflazzBuyer(running.url), OtomaxBuyer(running.url)
    assert digiflazz.buy(number("74"), "F74").code == "54"
    assert otomax.buy(number("74"), "F74").code == "Tujuan Salah"
    assert digiflazz.buy(number("85"), "F85").code == "53"
    assert otomax.buy(number("85"), "F85").code == "Produk Gangguan"
    jalur = JalurBuyer(running.url)
    assert jalur.buy(number("74"), "F74").code == "number-refused"
    assert jalur.buy(number("85"), "F85").code == "not-delivered"


@pytest.mark.parametrize(("digits", "first"), [("76", "cut"), ("83", "http-503")])
def test_a_lost_purchase_is_bought_by_the_second_try_only(
    buyer: Buyer, running: RunningSimulator, digits: str, first: str
) -> None:
    ref = f"LOST{digits}{buyer.dealer_id.upper()}"
    assert buyer.buy(number(digits), ref).kind == first
    assert running.delivered(ref) == []
    assert buyer.buy(number(digits), ref).kind == OK
    assert len(running.delivered(ref)) == 1


@pytest.mark.parametrize("digits", ["76", "83"])
def test_otomax_knows_nothing_of_a_lost_purchase(running: RunningSimulator, digits: str) -> None:
    buyer = OtomaxBuyer(running.url)
    buyer.buy(number(digits), f"GONE{digits}")
    assert buyer.status(number(digits), f"GONE{digits}").kind == "not-found"


def test_a_dealer_that_always_succeeds_ignores_the_digits(running: RunningSimulator) -> None:
    buyer = OtomaxBuyer(running.url)
    buyer.url = f"{running.url}/tenang"
    assert buyer.buy(number("76"), "CALM").kind == OK
    assert buyer.buy(number("88"), "CALM88").kind == OK


def test_neither_silence_nor_a_missing_callback_stands_on_the_agenda(
    firsts: dict[str, Word], running: RunningSimulator
) -> None:
    assert running.get("agenda") == {"pending": 0, "items": []}
