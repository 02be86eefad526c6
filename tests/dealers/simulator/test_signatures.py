"""Who may buy, and how a receiver can tell whose callback it holds."""

import hashlib
import hmac

import pytest
from standardwebhooks.webhooks import Webhook

from tests.dealers.simulator.buyers import (
    DigiflazzBuyer,
    JalurBuyer,
    OtomaxBuyer,
    Word,
    plain_client,
)
from tests.dealers.simulator.receiver import Receiver
from tests.dealers.simulator.simulators import WEBHOOK_SECRET, RunningSimulator


def test_a_wrong_signature_buys_nothing(running: RunningSimulator) -> None:
    stranger = DigiflazzBuyer(running.url, api_key="tebakan")
    assert stranger.buy("081234567800", "FORGED").code == "41"
    assert OtomaxBuyer(running.url, pin="0000").buy("081234567800", "FORGED") == Word(
        "rejected", "Wrong Signature"
    )
    assert JalurBuyer(running.url, "tebakan").buy("081234567800", "FORGED").code == "invalid-key"
    assert running.delivered("FORGED") == []


def test_the_published_otomax_signature_is_accepted(running: RunningSimulator) -> None:
    """A vendor's own example: a product that is not sold here, so only the signature is judged."""
    query = "memberID=YUSUF&product=X10&qty=1&dest=08123456789&refID=2140669"
    with plain_client() as client:
        answer = client.get(f"{running.url}/sentra/trx?{query}&sign=Cp9NLVuKWBt5Sey_uMlYsvnKvJI")
    assert answer.text == "R#2140669 X10.08123456789 GAGAL. Produk Salah"


def test_digiflazz_callbacks_are_signed_over_the_raw_body(
    running: RunningSimulator, receiver: Receiver
) -> None:
    DigiflazzBuyer(running.url).buy("081234567870", "SIGNED")
    running.finish_agenda()
    (taken,) = [taken for taken in receiver.taken if b"SIGNED" in taken.body]
    expected = hmac.new(b"rahasia", taken.body, hashlib.sha1).hexdigest()
    assert taken.method == "POST"
    assert taken.headers["x-hub-signature"] == f"sha1={expected}"
    assert taken.headers["x-digiflazz-event"] == "update"
    assert taken.headers["user-agent"] == "Digiflazz-Hookshot"


def test_jalur_webhooks_are_signed_as_the_specification_has_it(
    running: RunningSimulator, receiver: Receiver
) -> None:
    JalurBuyer(running.url).buy("081234567870", "STANDARD")
    running.finish_agenda()
    (taken,) = [taken for taken in receiver.taken if b"STANDARD" in taken.body]
    assert Webhook(WEBHOOK_SECRET).verify(taken.body, taken.headers)["type"] == "order.succeeded"


def test_a_purchase_may_name_its_own_callback_address(
    running: RunningSimulator, receiver: Receiver
) -> None:
    buyer = DigiflazzBuyer(running.url)
    buyer.buy("081234567870", "ELSEWHERE", cb_url=f"{receiver.url}/own/address")
    running.finish_agenda()
    paths = [taken.path for taken in receiver.taken if b"ELSEWHERE" in taken.body]
    assert paths == ["/own/address"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"ref_id": "X"}'])
def test_an_unreadable_digiflazz_request_is_refused(running: RunningSimulator, body: bytes) -> None:
    with plain_client() as client:
        answer = client.post(f"{running.url}/mitra/transaction", content=body)
    assert answer.json()["data"]["rc"] == "40"


def test_a_body_past_the_cap_is_refused(running: RunningSimulator) -> None:
    with plain_client() as client:
        answer = client.post(f"{running.url}/mitra/transaction", content=b" " * 70_000)
    assert answer.status_code == 413


def test_the_price_list_names_what_is_sold(running: RunningSimulator) -> None:
    buyer = DigiflazzBuyer(running.url)
    call = buyer.post("price-list", "pricelist", cmd="prepaid")
    with plain_client() as client:
        (row,) = client.send(call).json()["data"]
    assert (row["buyer_sku_code"], row["price"]) == ("S5", 5000)


@pytest.mark.parametrize("page", ["nobody/trx", "mitra/trx", "sentra/transaction", "x"])
def test_pages_that_do_not_exist_are_not_found(running: RunningSimulator, page: str) -> None:
    with plain_client() as client:
        assert client.get(f"{running.url}/{page}").status_code == 404
