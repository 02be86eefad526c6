"""The same reference sent again, however often and however fast, never delivers again."""

from concurrent.futures import ThreadPoolExecutor

from tests.dealers.simulator.buyers import Buyer, DigiflazzBuyer, OtomaxBuyer
from tests.dealers.simulator.simulators import RunningSimulator


def at_once(buyer: Buyer, number: str, ref: str) -> list[str]:
    with ThreadPoolExecutor(20) as callers:
        calls = [callers.submit(buyer.buy, number, ref) for _ in range(20)]
        return [call.result().kind for call in calls]


def test_twenty_callers_with_one_reference_get_one_delivery(
    buyer: Buyer, running: RunningSimulator
) -> None:
    ref = f"TWENTY{buyer.dealer_id.upper()}"
    kinds = at_once(buyer, "081234567800", ref)
    assert len(running.delivered(ref)) == 1
    assert kinds.count("succeeded") == (1 if buyer.dealer_id == "sentra" else 20)


def test_twenty_callers_after_a_lost_try_get_one_delivery(
    buyer: Buyer, running: RunningSimulator
) -> None:
    ref = f"CUTTWENTY{buyer.dealer_id.upper()}"
    assert at_once(buyer, "081234567876", ref).count("cut") == 1
    assert len(running.delivered(ref)) == 1


def test_digiflazz_tells_the_first_state_again(running: RunningSimulator) -> None:
    buyer = DigiflazzBuyer(running.url)
    first = buyer.buy("081234567801", "AGAIN")
    assert buyer.buy("081234567801", "AGAIN") == first


def test_digiflazz_refuses_a_reference_of_another_number_or_product(
    running: RunningSimulator,
) -> None:
    buyer = DigiflazzBuyer(running.url)
    buyer.buy("081234567801", "MINE")
    buyer.buy("081234567876", "LOSTMINE")
    assert buyer.buy("081234567802", "MINE").code == "49"
    assert buyer.buy("081234567801", "MINE", sku="S10").code == "49"
    assert buyer.buy("081234567801", "LOSTMINE").code == "49"
    assert len(running.delivered("MINE")) == 1
    assert running.delivered("LOSTMINE") == []


def test_otomax_calls_a_second_purchase_a_double(running: RunningSimulator) -> None:
    buyer = OtomaxBuyer(running.url)
    buyer.buy("081234567801", "ONCE")
    assert buyer.buy("081234567801", "ONCE").kind == "repeat"
    assert buyer.buy("081234567802", "ONCE").kind == "repeat"
    assert len(running.delivered("ONCE")) == 1


def test_a_status_call_never_buys(running: RunningSimulator) -> None:
    buyer = OtomaxBuyer(running.url)
    assert buyer.status("081234567801", "NEVERSENT").kind == "not-found"
    assert "NEVERSENT" not in {row["dealer_ref"] for row in running.get("purchases")}


def test_one_reference_at_two_dealers_is_two_purchases(running: RunningSimulator) -> None:
    for buyer in (DigiflazzBuyer(running.url), OtomaxBuyer(running.url)):
        assert buyer.buy("081234567801", "SHARED").kind == "succeeded"
    assert {row["dealer"] for row in running.delivered("SHARED")} == {"mitra", "sentra"}
