"""A killed simulator comes back knowing what it delivered and what it still owes."""

import signal
from dataclasses import replace
from pathlib import Path

from dealers.simulator.behaviour import State
from dealers.simulator.book import Book, Purchase
from tests.dealers.simulator.buyers import DigiflazzBuyer, OtomaxBuyer
from tests.dealers.simulator.receiver import Receiver
from tests.dealers.simulator.simulators import configuration, simulator


def test_a_kill_loses_neither_the_book_nor_the_agenda(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    with Receiver() as receiver:
        # An hour, so that nothing falls due while a simulator starts, however long that takes.
        config = configuration(receiver.url, callback_seconds=3600, reversal_seconds=3600)
        with simulator(tmp_path, config, state_dir) as first:
            buyer = DigiflazzBuyer(first.url)
            for digits in ("00", "70", "76", "80"):
                buyer.buy(f"08123456{digits}", f"K{digits}")
            first.process.send_signal(signal.SIGKILL)
        with simulator(tmp_path, config, state_dir) as second:
            buyer = DigiflazzBuyer(second.url)
            assert {row["dealer_ref"] for row in second.get("book")} == {"K00", "K80"}
            assert second.get("agenda")["pending"] == 2
            assert buyer.buy("0812345600", "K00").kind == "succeeded"
            assert buyer.buy("0812345676", "K76").kind == "succeeded"
            second.process.send_signal(signal.SIGKILL)
        _let_an_hour_pass(state_dir)
        with simulator(tmp_path, config, state_dir) as third:
            buyer = DigiflazzBuyer(third.url)
            third.finish_agenda()
            refs = sorted(row["dealer_ref"] for row in third.get("book"))
            assert refs == ["K00", "K70", "K76", "K80"]
            assert third.delivered("K80")[0]["reversed_at"] is not None
            assert buyer.balance() == 1_000_000 - 3 * 5000
        assert sorted(buyer.read_callback(taken)[0] for taken in receiver.taken) == ["K70", "K80"]


def test_what_is_finished_stays_finished_after_a_restart(tmp_path: Path) -> None:
    with Receiver() as receiver:
        config = configuration(receiver.url)
        with simulator(tmp_path, config, tmp_path) as first:
            OtomaxBuyer(first.url).buy("0812345679", "DONE")
            first.finish_agenda()
            book = first.get("book")
        with simulator(tmp_path, config, tmp_path) as second:
            assert second.get("agenda")["pending"] == 0
            assert second.get("book") == book
        assert len(receiver.taken) == 2


def test_callbacks_are_retried_in_order_until_they_are_taken(tmp_path: Path) -> None:
    with Receiver(refusals=3) as receiver:
        with simulator(tmp_path, configuration(receiver.url)) as running:
            buyer = OtomaxBuyer(running.url)
            buyer.buy("0812345679", "STUBBORN")
            running.finish_agenda()
        kinds = [buyer.read_callback(taken)[1].kind for taken in receiver.taken]
    assert kinds == ["succeeded", "failed"]


def test_a_refused_copy_is_the_only_one_sent_again(tmp_path: Path) -> None:
    with Receiver(refusals=1) as receiver:
        with simulator(tmp_path, configuration(receiver.url)) as running:
            OtomaxBuyer(running.url).buy("0812345678", "COPIES")
            running.finish_agenda()
        assert len(receiver.taken) == 3


def test_sigterm_ends_cleanly_while_an_answer_is_held(tmp_path: Path) -> None:
    with simulator(tmp_path, configuration("http://127.0.0.1:9")) as running:
        held = OtomaxBuyer(running.url).buy("0812345677", "HELD", timeout_seconds=0.3)
        assert held.kind == "timeout"
        running.process.terminate()
        assert running.process.wait(timeout=10) == 0


def test_a_line_cut_short_by_a_kill_is_dropped_and_not_joined(tmp_path: Path) -> None:
    _record(tmp_path, "A")
    with (tmp_path / "book.jsonl").open("ab") as file:
        file.write(b'{"dealer_id": "mi')
    _record(tmp_path, "B")
    book = Book(tmp_path)
    book.close()
    assert [purchase.dealer_ref for purchase in book] == ["A", "B"]
    assert [purchase.number for purchase in book] == [1, 2]


def _let_an_hour_pass(folder: Path) -> None:
    """What a killed simulator left on its agenda falls due in this moment."""
    book = Book(folder)
    for purchase in book.unfinished():
        assert purchase.due_at is not None
        book.record(replace(purchase, due_at=purchase.due_at - 3600))
    book.close()


def _record(folder: Path, ref: str) -> None:
    book = Book(folder)
    book.record(
        Purchase(
            dealer_id="mitra",
            dealer_ref=ref,
            customer_number="0812345600",
            sku="S5",
            number=book.next_number(),
            price_rupiah=5000,
            digits="00",
            state=State.SUCCEEDED,
            callback_url="",
            created_at=0.0,
            delivered_at=0.0,
        )
    )
    book.close()
