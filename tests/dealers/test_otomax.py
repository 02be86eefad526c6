"""OtomaX: its signature, its requests, and what its texts may be taken to say."""

import dataclasses
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealers.contract import Account, Answer, Callback, Fault, Outcome, Report, TopUp
from dealers.registry import load
from tests.dealers.recorded import ORDER, account

OTOMAX = load()["otomax"]
ACCOUNT = account("otomax")
UNSTORED = f"R#{ORDER.dealer_ref} X10.{ORDER.customer_number}"
STORED = f"T#88123 {UNSTORED}"

REASONS = {
    "Tujuan Salah": Fault.NUMBER,
    "Tujuan Di Luar Wilayah": Fault.CLUSTER,
    "Kode Area Tidak Cocok": Fault.CLUSTER,
    "Saldo Tidak Cukup": Fault.ACCOUNT,
    "Produk Salah": Fault.ACCOUNT,
    "Wrong Signature": Fault.ACCOUNT,
    "Stok Kosong": Fault.PRODUCT,
    "Produk Gangguan": Fault.PRODUCT,
    "Harga Tidak Sesuai": Fault.PRODUCT,
    "Cutoff": Fault.PRODUCT,
    "Limit Harian": Fault.PRODUCT,
    "Dibatalkan": Fault.PRODUCT,
}
REASON = pytest.mark.parametrize(("reason", "fault"), REASONS.items())


def _query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def _bought(text: str) -> Report:
    return OTOMAX.read_top_up(ACCOUNT, ORDER, Answer(200, {}, text.encode()))


def _checked(text: str) -> Report:
    return OTOMAX.read_status(ACCOUNT, ORDER, Answer(200, {}, text.encode()))


def test_the_signature_of_the_published_example():
    credentials = {"memberID": "YUSUF", "pin": "1144", "password": "abcd"}
    example = Account("d1", "http://center.example:6969", credentials)
    order = TopUp("2140669", "X10", "08123456789", 10_500)

    sign = _query(OTOMAX.top_up(example, order).url)["sign"]

    assert sign == "Cp9NLVuKWBt5Sey_uMlYsvnKvJI"


def test_the_purchase_request():
    request = OTOMAX.top_up(ACCOUNT, ORDER)
    query = _query(request.url)
    query.pop("sign")

    assert request.url.startswith("http://center.example:6969/trx?")
    assert (request.method, request.body) == ("GET", b"")
    assert query == {
        "memberID": "JALUR",
        "product": "X10",
        "qty": "1",
        "dest": "081234567890",
        "refID": ORDER.dealer_ref,
    }


def test_the_check_is_the_purchase_with_a_flag_without_which_it_would_buy():
    bought, checked = OTOMAX.top_up(ACCOUNT, ORDER), OTOMAX.status(ACCOUNT, ORDER)

    assert _query(checked.url) == {**_query(bought.url), "check": "1"}


@given(sku=st.text(min_size=1))
def test_no_product_code_can_add_to_the_query(sku: str):
    order = dataclasses.replace(ORDER, dealer_sku=sku.encode("utf-8", "replace").decode())
    query = parse_qs(urlsplit(OTOMAX.status(ACCOUNT, order).url).query, strict_parsing=True)

    assert query["product"] == [order.dealer_sku]
    assert set(query) == {"memberID", "product", "qty", "dest", "refID", "sign", "check"}


def test_pin_and_password_never_leave():
    urls = [request.url for request in (OTOMAX.top_up(ACCOUNT, ORDER), OTOMAX.balance(ACCOUNT))]

    assert not [url for url in urls if "1144" in url or "abcd" in url]


@REASON
def test_a_refusal_without_their_id_created_nothing(reason: str, fault: Fault):
    for text in (f"{UNSTORED} GAGAL. {reason}", f"R#{ORDER.dealer_ref} {reason}"):
        read = _bought(text)
        wrong_number = fault is Fault.NUMBER
        assert read.outcome is (Outcome.FAILED if wrong_number else Outcome.REJECTED)
        assert read.fault is fault


@REASON
def test_a_failure_with_their_id_failed_after_it_was_created(reason: str, fault: Fault):
    for read in (_bought, _checked):
        report = read(f"{STORED} GAGAL. {reason}. Saldo 990.850")
        assert (report.outcome, report.fault) == (Outcome.FAILED, fault)
        assert not report.reversal


@REASON
def test_a_refusal_without_their_id_says_nothing_on_a_check(reason: str, fault: Fault):
    for text in (f"{UNSTORED} GAGAL. {reason}", f"R#{ORDER.dealer_ref} {reason}"):
        assert _checked(text).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("text", ["Transaksi Dobel", "Timeout", "Tidak Ada Data", "Entah"])
@pytest.mark.parametrize("head", [STORED, UNSTORED, f"R#{ORDER.dealer_ref}"])
def test_doubtful_words_decide_nothing(head: str, text: str):
    for sentence in (text, f"GAGAL. {text}", f"GAGAL {text}"):
        assert _bought(f"{head} {sentence}").outcome is Outcome.UNKNOWN
        assert _checked(f"{head} {sentence}").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("number", ["08123456789", "0812345678901", "\u0660" * 12])
def test_a_success_for_another_number_is_not_ours(number: str):
    text = f"T#1 R#{ORDER.dealer_ref} X10.{number} SUKSES. SN: 1"

    assert _bought(text).outcome is Outcome.UNKNOWN


def test_a_callback_is_never_verified_even_when_it_carries_a_signature():
    query = f"refid={ORDER.dealer_ref}&status=20&message=SUKSES"
    callback = Callback("GET", query, {"x-hub-signature": "sha1=00"}, b"")

    assert not OTOMAX.read_callback(ACCOUNT, callback).verified
    assert not OTOMAX.capabilities.callback_is_word


_WORDS = st.sampled_from(
    [
        *("T#88123", "T#7", f"R#{ORDER.dealer_ref}", "R#OTHER"),
        *(f"X10.{ORDER.customer_number}", "X10.0811", "STATUS:"),
        *("SUKSES.", "SUKSES", "Sukses,", "SUKSES?", "GAGAL.", "GAGAL", "REFUND.", "DIREFUND"),
        *("BELUM", "tidak", "bukan", "akan diproses.", "Sedang Diproses", "Timeout"),
        *("SN: 123.", "Harga 10.150.", "Saldo 990.850", "Stok Kosong.", "Tidak Ada Data"),
    ]
)
_EXPLICIT = re.compile(re.escape(STORED) + r" (STATUS: )?SUKSES([.,:;! ].*)?", re.IGNORECASE)
_DENIAL = re.compile(r"gagal|belum|tidak|bukan|refund|diproses|timeout|\?|R#.*R#", re.IGNORECASE)


@given(words=st.lists(_WORDS, max_size=6), head=st.sampled_from([STORED, UNSTORED, "", "T#1"]))
def test_nothing_but_an_explicit_success_succeeds(words: list[str], head: str):
    text = " ".join([head, *words]).strip()
    for read in (_bought, _checked):
        if read(text).outcome is Outcome.SUCCEEDED:
            assert _EXPLICIT.fullmatch(text)
            assert not _DENIAL.search(text)


@given(words=st.lists(_WORDS, max_size=6))
def test_no_check_fails_a_purchase_that_it_does_not_prove_stored(words: list[str]):
    report = _checked(" ".join([UNSTORED, *words]))

    assert report.outcome in (Outcome.UNKNOWN, Outcome.PENDING)
