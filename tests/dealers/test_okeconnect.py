"""OkeConnect: its requests, and what its sentences may be taken to say."""

import dataclasses
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealers.contract import Answer, Callback, Outcome, Recovery, Report
from dealers.registry import load
from tests.dealers.recorded import ORDER, account

OKECONNECT = load()["okeconnect"]
ACCOUNT = account("okeconnect")
SUBJECT = f"R#{ORDER.dealer_ref} Telkomsel 10.000 X10.{ORDER.customer_number}"
STORED = f"T#88123 {SUBJECT}"
FOUND = f"{SUBJECT} sudah pernah jam 18:46, status"


def _query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def _bought(text: str) -> Report:
    return OKECONNECT.read_top_up(ACCOUNT, ORDER, Answer(200, {}, text.encode()))


def _checked(text: str, counter: int = 1) -> Report:
    order = dataclasses.replace(ORDER, counter=counter)
    return OKECONNECT.read_status(ACCOUNT, order, Answer(200, {}, text.encode()))


def test_the_purchase_request():
    request = OKECONNECT.top_up(ACCOUNT, ORDER)

    assert request.url.startswith("https://h2h.okeconnect.example/trx?")
    assert (request.method, request.body) == ("GET", b"")
    assert _query(request.url) == {
        "product": "X10",
        "dest": "081234567890",
        "refID": ORDER.dealer_ref,
        "memberID": "OK00123",
        "pin": "738291",
        "password": "rahasia",
    }


def test_the_check_is_the_purchase_with_a_flag_without_which_it_would_buy():
    bought, checked = OKECONNECT.top_up(ACCOUNT, ORDER), OKECONNECT.status(ACCOUNT, ORDER)

    assert _query(checked.url) == {**_query(bought.url), "check": "1"}


def test_the_balance_has_an_address_of_its_own():
    assert OKECONNECT.balance(ACCOUNT).url.startswith("https://h2h.okeconnect.example/trx/balance?")


@given(sku=st.text(min_size=1))
def test_no_product_code_can_add_to_the_query(sku: str):
    order = dataclasses.replace(ORDER, dealer_sku=sku.encode("utf-8", "replace").decode())
    query = parse_qs(urlsplit(OKECONNECT.status(ACCOUNT, order).url).query, strict_parsing=True)

    assert query["product"] == [order.dealer_sku]
    assert set(query) == {"product", "dest", "refID", "memberID", "pin", "password", "check"}


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (f"{STORED} akan diproses. Saldo 279.655 - 1.321 = 278.334 @19:08", Outcome.PENDING),
        (f"{STORED} SUKSES. SN: R230512. Saldo 278.334 - 1.321 = 277.013", Outcome.SUCCEEDED),
        (f"{STORED} GAGAL. Nomor tujuan salah. Saldo 10.795.667 @22:15", Outcome.FAILED),
        (f"{STORED} GAGAL. Cek kembali nomor tujuan Anda.. Saldo 1.352.242", Outcome.FAILED),
    ],
)
def test_the_published_sentences_mean_the_same_to_a_purchase_and_a_check(
    text: str, outcome: Outcome
):
    assert _bought(text).outcome is outcome
    assert _checked(text).outcome is outcome


@pytest.mark.parametrize("state", ["Sukses. SN: R1.", "Gagal. Produk Gangguan.", "Refund."])
def test_already_made_answers_the_check_of_the_only_purchase_of_a_day(state: str):
    text = f"{FOUND} {state} Hrg 10.150"

    assert _checked(text).outcome in (Outcome.SUCCEEDED, Outcome.FAILED)
    assert _checked(text, counter=2).outcome is Outcome.UNKNOWN
    assert _bought(text).outcome is Outcome.UNKNOWN


def test_absence_is_never_proved_since_it_is_told_of_a_day_and_no_reference():
    text = (
        f"TIDAK ADA transaksi Tujuan {ORDER.customer_number} pada tgl 22/04/2025. Tidak ada data."
    )

    assert _checked(text).outcome is Outcome.UNKNOWN
    assert not _checked(text).not_found
    assert OKECONNECT.capabilities.absent_after_seconds is None


def test_a_name_with_dots_and_digits_is_not_taken_for_the_number():
    text = f"T#1 R#{ORDER.dealer_ref} H2H Pulsa 10.081234567890 X10.081299999999 SUKSES. SN: 1"

    assert _bought(text).outcome is Outcome.UNKNOWN


def test_a_callback_is_a_hint_where_a_check_can_be_made():
    query = f"refid={ORDER.dealer_ref}&message=T%231+R%23{ORDER.dealer_ref}+X10.0812+SUKSES."
    read = OKECONNECT.read_callback(ACCOUNT, Callback("GET", query, {}, b""))

    assert read.report.outcome is Outcome.SUCCEEDED
    assert not read.verified
    assert not OKECONNECT.capabilities.callback_is_word
    assert OKECONNECT.capabilities.recovery is Recovery.STATUS_CALL


def test_what_costs_nothing_or_less_is_never_offered():
    rows = ",".join(
        f'{{"kode": "P{price}", "harga": "{price}", "status": "1"}}' for price in (-1150, 0, 1)
    )
    read = OKECONNECT.read_price_list(ACCOUNT, Answer(200, {}, f"[{rows}]".encode()))

    assert [(line.dealer_sku, line.available) for line in read] == [
        ("P-1150", False),
        ("P0", False),
        ("P1", True),
    ]


def test_without_its_address_there_is_no_price_list():
    assert OKECONNECT.price_list(dataclasses.replace(ACCOUNT, options={})) is None


@pytest.mark.parametrize("address", ["okeconnect.com/harga", "ftp://x/y", "https://", "http://[x"])
def test_a_price_file_that_is_no_address_is_named(address: str):
    at = dataclasses.replace(ACCOUNT, options={"price_list_url": address})

    assert any("price_list_url" in fault for fault in OKECONNECT.validate(at))


_WORDS = st.sampled_from(
    [
        *("T#88123", f"R#{ORDER.dealer_ref}", "R#OTHER", "Telkomsel 10.000", "X10.0811"),
        *(f"X10.{ORDER.customer_number}", "sudah pernah jam 18:46, status", "@18:46, status"),
        *("SUKSES.", "Sukses,", "SUKSES?", "GAGAL.", "GAGAL", "REFUND.", "DIREFUND"),
        *("BELUM", "tidak", "bukan", "akan diproses.", "Menunggu Jawaban.", "Timeout"),
        *("SN: 123.", "Hrg 10.150.", "Saldo 990.850", "Stok Kosong.", "Tidak ada data"),
    ]
)
_EXPLICIT = re.compile(
    rf"({re.escape(STORED)} (@18:46, status )?|(T#88123 )?{re.escape(FOUND)} )SUKSES([.,:;! ].*)?",
    re.IGNORECASE,
)
_DENIAL = re.compile(r"gagal|belum|tidak|bukan|refund|diproses|timeout|\?|R#.*R#", re.IGNORECASE)


@given(
    words=st.lists(_WORDS, max_size=6),
    head=st.sampled_from([STORED, FOUND, SUBJECT, "", "Mhn tunggu trx sblmnya selesai:"]),
)
def test_nothing_but_an_explicit_success_succeeds(words: list[str], head: str):
    text = " ".join([head, *words]).strip()
    for read in (_bought, _checked):
        if read(text).outcome is Outcome.SUCCEEDED:
            assert _EXPLICIT.fullmatch(text)
            assert not _DENIAL.search(text)


@given(words=st.lists(_WORDS, max_size=6))
def test_no_check_fails_a_purchase_that_it_does_not_prove_stored(words: list[str]):
    text = " ".join([SUBJECT, *words])
    report = _checked(text)

    if "sudah pernah jam" not in text:
        assert report.outcome in (Outcome.UNKNOWN, Outcome.PENDING)
