"""The registry: protocols are found by file name, checked at start and guarded ever after."""

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dealers.contract import (
    Account,
    Answer,
    Callback,
    CallbackRefused,
    CallbackReport,
    Outcome,
    Report,
    UnreadableAnswer,
)
from dealers.registry import Dialect, IncompleteProtocol, discover, load
from tests.dealers.recorded import ORDER, case

ACCOUNT = Account("d1", "https://dealer.example", {})
ANSWER = Answer(200, {}, b"anything")
CALLBACK = Callback("GET", "", {}, b"")

_CAPABILITIES = """
from dealers.contract import Capabilities, Recovery
CAPABILITIES = Capabilities(Recovery.NONE)
CREDENTIALS = OPTIONS = ()
"""
_FUNCTIONS = (
    "validate",
    "top_up",
    "read_top_up",
    "status",
    "read_status",
    "read_callback",
    "acknowledge",
    "balance",
    "read_balance",
    "price_list",
    "read_price_list",
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    made = ModuleType("invented_protocols")
    made.__path__ = [str(tmp_path)]
    monkeypatch.setitem(sys.modules, made.__name__, made)
    yield made
    for name in [name for name in sys.modules if name.startswith("invented_protocols.")]:
        del sys.modules[name]


def _write(package: ModuleType, file: str, *functions: str, head: str = _CAPABILITIES) -> None:
    body = "\n".join(f"def {name}(*_): raise KeyError('bug')" for name in functions)
    Path(package.__path__[0], file).write_text(head + body)


def _saying(report: Report, reference: str = "ABC123") -> Dialect:
    """A protocol whose readers always give the same report."""
    protocol = ModuleType("invented")
    protocol.CAPABILITIES = load()["otomax"].capabilities
    protocol.read_top_up = protocol.read_status = lambda *_: report
    protocol.read_callback = lambda *_: CallbackReport(reference, report, verified=True)
    return Dialect("invented", protocol)


def test_protocols_are_found_by_their_file_names(package: ModuleType):
    _write(package, "alpha.py", *_FUNCTIONS)
    _write(package, "beta.py", *_FUNCTIONS)

    assert list(discover(package)) == ["alpha", "beta"]


def test_the_shipped_protocols_are_loaded_once():
    assert {"digiflazz", "otomax"} <= set(load())
    assert load() is load()


@pytest.mark.parametrize("forgotten", _FUNCTIONS)
def test_a_file_without_a_function_of_the_contract_is_named(package: ModuleType, forgotten: str):
    _write(package, "half.py", *(name for name in _FUNCTIONS if name != forgotten))

    with pytest.raises(IncompleteProtocol, match=rf"half\.py lacks {forgotten}$"):
        discover(package)


def test_a_file_without_capabilities_is_named(package: ModuleType):
    _write(
        package, "half.py", *_FUNCTIONS, head="CREDENTIALS = OPTIONS = ()\nCAPABILITIES = 'many'\n"
    )

    with pytest.raises(IncompleteProtocol, match=r"half\.py lacks CAPABILITIES$"):
        discover(package)


def test_a_file_without_settings_is_named(package: ModuleType):
    head = "from dealers.contract import Capabilities, Recovery\n"
    head += "CAPABILITIES = Capabilities(Recovery.NONE)\nOPTIONS = ('zone',)\n"
    _write(package, "half.py", *_FUNCTIONS, head=head)

    with pytest.raises(IncompleteProtocol, match=r"half\.py lacks CREDENTIALS, OPTIONS$"):
        discover(package)


def test_a_file_that_logs_in_but_cannot_read_the_answer_is_named(package: ModuleType):
    _write(package, "half.py", *_FUNCTIONS, "log_in")

    with pytest.raises(IncompleteProtocol, match=r"half\.py lacks read_log_in, session_ended$"):
        discover(package)


def test_settings_that_lack_or_that_no_protocol_reads_are_named():
    at = Account("d1", "https://dealer.example", {"memberID": "A", "pim": "1", "password": "s"})
    faults = load()["otomax"].validate(dataclasses.replace(at, options={"zone": "1"}))

    assert faults == [
        "credential pin is missing: its PIN",
        "credential pim is unknown: did you mean pin?",
        "option zone is unknown: there are callback_url, check_interval_seconds, "
        "absent_after_seconds, check_schedule, balance_interval_seconds, balance_tolerance, "
        "float_reserve, traceparent, failures_count",
    ]


def test_a_reader_that_raises_reports_unknown(package: ModuleType):
    _write(package, "buggy.py", *_FUNCTIONS)
    buggy = discover(package)["buggy"]

    for read in (buggy.read_top_up, buggy.read_status):
        assert read(ACCOUNT, ORDER, ANSWER) == Report(
            Outcome.UNKNOWN, "unreadable", message="KeyError"
        )


def test_a_callback_reader_that_raises_refuses_the_callback(package: ModuleType):
    _write(package, "buggy.py", *_FUNCTIONS)

    with pytest.raises(CallbackRefused):
        discover(package)["buggy"].read_callback(ACCOUNT, CALLBACK)


def test_a_balance_or_price_reader_that_raises_is_named_unreadable(package: ModuleType):
    _write(package, "buggy.py", *_FUNCTIONS)
    buggy = discover(package)["buggy"]

    for read in (buggy.read_balance, buggy.read_price_list):
        with pytest.raises(UnreadableAnswer):
            read(ACCOUNT, ANSWER)


@pytest.mark.parametrize("reference", ["", "lower", "A" * 23, "A\x00", "Ä1", "A-1", 7])
def test_a_callback_about_a_reference_we_never_send_is_refused(reference: str):
    said = _saying(Report(Outcome.SUCCEEDED, "00"), reference)

    with pytest.raises(CallbackRefused):
        said.read_callback(ACCOUNT, CALLBACK)


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b", "a\nb", "a \t b", "a\u202eb"])
def test_a_report_holds_nothing_that_the_database_refuses(text: str):
    said = _saying(Report(Outcome.SUCCEEDED, text, message=text, serial_number=text))
    read = said.read_top_up(ACCOUNT, ORDER, ANSWER)

    assert (read.code, read.message, read.serial_number) == ("a b", "a b", "a b")


def test_long_texts_are_shortened():
    said = _saying(Report(Outcome.PENDING, "c" * 9_999, message="m" * 9_999))
    read = said.read_status(ACCOUNT, ORDER, ANSWER)

    assert (len(read.code), len(read.message)) == (40, 200)


def test_a_blank_serial_number_is_none():
    said = _saying(Report(Outcome.SUCCEEDED, "00", serial_number=" \x00 "))

    assert said.read_top_up(ACCOUNT, ORDER, ANSWER).serial_number is None


@pytest.mark.parametrize("price", [0, -1, 10**19])
def test_an_impossible_price_is_dropped_and_the_word_kept(price: int):
    said = _saying(Report(Outcome.SUCCEEDED, "00", price_rupiah=price))
    read = said.read_callback(ACCOUNT, CALLBACK).report

    assert (read.outcome, read.price_rupiah) == (Outcome.SUCCEEDED, None)


@pytest.mark.parametrize("read", [Dialect.read_balance, Dialect.read_price_list])
def test_a_cut_list_or_balance_is_unreadable(read: Callable[[Dialect, Account, Answer], object]):
    recorded = case("digiflazz", "price-list-truncated")

    with pytest.raises(UnreadableAnswer, match="larger"):
        read(recorded.dialect, recorded.account, recorded.answer())


def test_a_final_word_that_names_a_member_twice_is_none():
    """Readers differ in which of the two counts."""
    success = case("digiflazz", "success")
    body = success.answer().body[:-1] + b', "data": {"rc": "42"}}'
    read = success.dialect.read_top_up(
        success.account, ORDER, dataclasses.replace(success.answer(), body=body)
    )

    assert (read.outcome, read.code) == (Outcome.UNKNOWN, "named-twice")


def test_a_secret_that_a_dealer_quotes_is_not_kept():
    """Error pages like to show the request that they did not like."""
    at = Account("d1", "https://dealer.example", {"pin": "738291", "password": "ra ha+sia"})
    quoting = _saying(Report(Outcome.UNKNOWN, "x", "GET /trx?pin=738291&password=ra+ha%2Bsia"))

    assert quoting.read_top_up(at, ORDER, ANSWER).message == "GET /trx?pin=***&password=***"
