"""IRS: its request, what may be asked again, and what its sentences may be taken to say."""

import dataclasses
import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealers.contract import Answer, Callback, Fault, Outcome, Recovery, Report
from dealers.registry import load
from tests.dealers.recorded import ORDER, account

IRS = load()["irs"]
ACCOUNT = account("irs")
PLAIN = dataclasses.replace(ACCOUNT, options={})
SUBJECT = f"TRX X10.{ORDER.customer_number}"
END = f"SISA SALDO:990850 CLIENTID={ORDER.dealer_ref}."

CREATED = {
    "Nomor Tujuan Salah": Fault.NUMBER,
    "Nomor Tujuan Diblokir": Fault.NUMBER,
    "Prefix Tidak Sesuai Dengan Operator": Fault.NUMBER,
    "Jumlah Digit Kurang Atau Lebih": Fault.NUMBER,
    "Tagihan belum tersedia": Fault.NUMBER,
    "Lakukan Unreg Paket Dahulu": Fault.NUMBER,
    "Kwh Melebihi Batas": Fault.NUMBER,
    "Produk Sedang Gangguan": Fault.PRODUCT,
    "Produk Seller Sedang Tidak Tersedia": Fault.PRODUCT,
    "Produk Sedang Tidak Stabil": Fault.PRODUCT,
    "Saldo Seller Digiflazz Habis": Fault.PRODUCT,
    "Tujuan di Luar Wilayah/Cluster": Fault.CLUSTER,
}
NOT_CREATED = {
    "Invalid Payload": Fault.ACCOUNT,
    "Gagal memproses API Buyer": Fault.ACCOUNT,
    "SKU tidak di temukan atau Non-Aktif": Fault.ACCOUNT,
    "Saldo Tidak Cukup": Fault.ACCOUNT,
    "IP Anda tidak kami kenali": Fault.ACCOUNT,
    "Koneksi belum didukung": Fault.ACCOUNT,
    "Belum pernah melakukan deposit": Fault.ACCOUNT,
    "Akun Anda telah diblokir oleh Seller": Fault.ACCOUNT,
    "Seller ini telah diblokir oleh Anda": Fault.ACCOUNT,
    "Akun Anda belum ter-verfikasi": Fault.ACCOUNT,
    "Stok habis": Fault.PRODUCT,
    "Cut Off (Perbaikan Sistem Seller)": Fault.PRODUCT,
    "Limit saldo seller": Fault.PRODUCT,
    "Limit transaksi multi": Fault.PRODUCT,
    "Produk sedang Gangguan (Non Aktif)": Fault.PRODUCT,
    "Seller sedang mengalami gangguan": Fault.PRODUCT,
    "Tidak support transaksi multi": Fault.PRODUCT,
    "Harga seller lebih besar dari ketentuan harga Buyer": Fault.PRODUCT,
}
DOUBTFUL = (
    "Timeout",
    "Timeout Dari Biller",
    "Transaksi Gagal",
    "Transaksi Tidak Ditemukan",
    "Ref ID tidak unik",
    "Transaksi sudah terjadi di buyer lain",
    "",
)


def _bought(text: str) -> Report:
    return IRS.read_top_up(ACCOUNT, ORDER, Answer(200, {}, text.encode()))


def _checked(text: str) -> Report:
    return IRS.read_status(ACCOUNT, ORDER, Answer(200, {}, text.encode()))


def _reported(code: str, message: str) -> Report:
    query = urlencode({"clientid": ORDER.dealer_ref, "statuscode": code, "msg": message})
    return IRS.read_callback(ACCOUNT, Callback("GET", query, {}, b"")).report


def _failure(reason: str) -> str:
    return f"{SUBJECT} GAGAL, {reason}. {END}"


def _query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


@pytest.mark.parametrize(("reason", "fault"), CREATED.items())
def test_a_reason_that_created_a_transaction(reason: str, fault: Fault):
    for read in (_bought(_failure(reason)), _checked(_failure(reason))):
        assert (read.outcome, read.fault) == (Outcome.FAILED, fault)
    assert _reported("2", _failure(reason)).fault is fault


@pytest.mark.parametrize(("reason", "fault"), NOT_CREATED.items())
def test_a_reason_that_created_none_says_nothing_on_a_check(reason: str, fault: Fault):
    read = _bought(_failure(reason))

    assert (read.outcome, read.fault) == (Outcome.REJECTED, fault)
    assert _checked(_failure(reason)).outcome is Outcome.UNKNOWN
    assert _reported("2", _failure(reason)).outcome is Outcome.FAILED


@pytest.mark.parametrize("reason", DOUBTFUL)
def test_a_doubtful_reason_decides_nothing(reason: str):
    for read in (_bought(_failure(reason)), _checked(_failure(reason))):
        assert read.outcome is Outcome.UNKNOWN
    assert _reported("2", _failure(reason)).outcome is Outcome.UNKNOWN


def test_the_hour_may_be_the_checks():
    assert _bought(_failure("Sedang Cut Off")).outcome is Outcome.FAILED
    assert _checked(_failure("Sedang Cut Off")).outcome is Outcome.UNKNOWN


def test_a_refund_is_a_reversal():
    read = _checked(_failure("Transaksi Refund"))

    assert (read.outcome, read.reversal) == (Outcome.FAILED, True)


def test_the_purchase_request():
    request = IRS.top_up(PLAIN, dataclasses.replace(ORDER, counter=3))

    assert request.url.startswith("http://center.example:8080/api/h2h?")
    assert (request.method, request.body) == ("GET", b"")
    assert _query(request.url) == {
        "id": "MA0001",
        "pin": "K7P2QX",
        "user": "U8D10B",
        "pass": "6251F3",
        "kodeproduk": "X10",
        "tujuan": "081234567890",
        "counter": "3",
        "idtrx": ORDER.dealer_ref,
    }


@pytest.mark.parametrize(
    ("counter", "number"), [(1, "081234567890"), (2, "2.081234567890"), (3, "3.081234567890")]
)
def test_st24_counts_before_the_number(counter: int, number: str):
    at = dataclasses.replace(ACCOUNT, options={"counter_in": "number"})
    query = _query(IRS.top_up(at, dataclasses.replace(ORDER, counter=counter)).url)

    assert (query["tujuan"], query.get("counter")) == (number, None)


def test_what_a_center_wants_besides():
    options = {"jenis": "1", "price_limit_parameter": "hargamax"}
    query = _query(IRS.top_up(dataclasses.replace(ACCOUNT, options=options), ORDER).url)

    assert (query["jenis"], query["hargamax"]) == ("1", "10500")


@given(sku=st.text(min_size=1))
def test_no_product_code_can_add_to_the_query(sku: str):
    order = dataclasses.replace(ORDER, dealer_sku=sku.encode("utf-8", "replace").decode())
    query = parse_qs(urlsplit(IRS.top_up(PLAIN, order).url).query, strict_parsing=True)

    assert query["kodeproduk"] == [order.dealer_sku]
    assert set(query) == {
        *("id", "pin", "user", "pass"),
        *("kodeproduk", "tujuan", "counter", "idtrx"),
    }


def test_nothing_is_sent_again_unless_the_account_says_that_it_only_asks():
    assert IRS.capabilities_of(PLAIN).recovery is Recovery.NONE
    with pytest.raises(ValueError, match="may buy again"):
        IRS.status(PLAIN, ORDER)


def test_an_account_that_says_so_has_an_age_limit():
    declared = IRS.capabilities_of(ACCOUNT)

    assert declared.recovery is Recovery.SAME_REF_IS_STATUS
    assert declared.max_age_seconds == 90 * 24 * 3600


@pytest.mark.parametrize("days", ["0", "-1", "nan", "inf", "ninety"])
def test_days_that_are_none_are_named(days: str):
    at = dataclasses.replace(ACCOUNT, options={"same_idtrx_is_status_days": days})

    assert IRS.capabilities_of(at).recovery is Recovery.NONE
    assert any("same_idtrx_is_status_days" in fault for fault in IRS.validate(at))


def test_a_counter_in_the_wrong_place_is_named():
    at = dataclasses.replace(ACCOUNT, options={"counter_in": "tujuan"})

    assert any("counter_in" in fault for fault in IRS.validate(at))


_WORDS = st.sampled_from(
    [
        *(SUBJECT, END, f"CLIENTID={ORDER.dealer_ref}.", "CLIENTID=OTHER.", "SISA SALDO:1"),
        *("BERHASIL, HRG:10150", "BERHASIL,", "GAGAL,", "TIDAK", "BELUM", "SN: 123.", "SN: ."),
        *("Sukses. SN:123.", "GAGAL.", "sedang diproses", "sdh pernah jam 15:19, status"),
        *(f"TrxID={ORDER.dealer_ref} kode X10 ke {ORDER.customer_number}", "Saldo 1", "REFUND"),
        *(f"Request X10 ke {ORDER.customer_number} segera diproses", "Stok habis.", "?"),
    ]
)
_EXPLICIT = re.compile(
    rf"{re.escape(SUBJECT)} BERHASIL, HRG:10150 SN: .*SISA SALDO:.*CLIENTID={ORDER.dealer_ref}.*"
    rf"|(?:.* )?TrxID={ORDER.dealer_ref} kode X10 ke {ORDER.customer_number} Sukses\. SN:.*"
)
_DENIAL = re.compile(r"gagal|belum|tidak|refund|pernah|diproses|CLIENTID=OTHER|\?", re.IGNORECASE)


@pytest.mark.parametrize("state", ["Sukses. SN:0123.", "GAGAL."])
def test_words_before_the_sentence_may_deny_it(state: str):
    sentence = f"TrxID={ORDER.dealer_ref} kode X10 ke {ORDER.customer_number} {state} Saldo 1"

    assert _bought(f"Lancar BOS. {sentence}").outcome is not Outcome.UNKNOWN
    for denial in ("GAGAL. Sukses.", "Transaksi belum", "Apakah?"):
        assert _bought(f"{denial} {sentence}").outcome is Outcome.UNKNOWN


@given(words=st.lists(_WORDS, max_size=7))
def test_nothing_but_an_explicit_success_succeeds(words: list[str]):
    text = " ".join(words)
    for read in (_bought, _checked):
        if read(text).outcome is Outcome.SUCCEEDED:
            assert _EXPLICIT.fullmatch(text)
            assert not _DENIAL.search(text)


@given(words=st.lists(_WORDS, max_size=7))
def test_a_report_is_never_verified_and_never_denies_itself(words: list[str]):
    read = _reported("1", " ".join(words))

    assert read.outcome is Outcome.UNKNOWN or not _DENIAL.search(
        read.message.replace("CLIENTID=OTHER", "")
    )
