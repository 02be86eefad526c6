"""What a simulated dealer sells can be changed while it runs, and how slowly it answers."""

import signal
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from dealers.simulator.behaviour import Latency
from dealers.simulator.config import ConfigError, changed, parse_config
from dealers.simulator.dialects import names
from dealers.simulator.server import build_app
from dealers.simulator.standalone import standalone
from tests.dealers.simulator.buyers import DigiflazzBuyer, OtomaxBuyer, plain_client
from tests.dealers.simulator.simulators import RunningSimulator, configuration, simulator

NOWHERE = "http://127.0.0.1:9"


def change(running: RunningSimulator, dealer: str, **what: Any) -> httpx.Response:
    with plain_client() as client:
        return client.patch(f"{running.url}/dealers/{dealer}", json=what)


def test_a_price_that_rose_is_charged_or_refused_by_the_buyers_limit(tmp_path: Path) -> None:
    with simulator(tmp_path, configuration(NOWHERE)) as running:
        buyer = DigiflazzBuyer(running.url)
        change(running, "mitra", prices={"S5": 5400})
        assert buyer.buy("081234567800", "P1").kind == "succeeded"
        assert buyer.balance() == 1_000_000 - 5400
        change(running, "mitra", prices={"S5": 5600})
        assert buyer.buy("081234567800", "P2").code == "69"
        assert buyer.balance() == 1_000_000 - 5400


def test_what_is_sold_out_is_refused_and_marked_in_the_price_list(tmp_path: Path) -> None:
    with simulator(tmp_path, configuration(NOWHERE)) as running:
        buyer = DigiflazzBuyer(running.url)
        change(running, "mitra", stock={"S5": 1})
        assert buyer.buy("081234567800", "T1").kind == "succeeded"
        assert buyer.buy("081234567800", "T1").kind == "succeeded"
        assert buyer.buy("081234567800", "T2").code == "68"
        assert not _offers(buyer)[0]["seller_product_status"]
        change(running, "mitra", stock={"S5": None})
        assert buyer.buy("081234567800", "T3").kind == "succeeded"
        assert _offers(buyer)[0]["unlimited_stock"]


def test_what_is_not_sold_any_more_is_unknown(tmp_path: Path) -> None:
    with simulator(tmp_path, configuration(NOWHERE)) as running:
        assert change(running, "sentra", prices={"S5": None, "S10": 10_000}).json()["prices"] == {
            "S10": 10_000
        }
        assert OtomaxBuyer(running.url).buy("081234567800", "U1").kind != "succeeded"
        assert running.get("book") == []


def test_changes_and_what_is_left_in_stock_outlive_a_kill(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    with simulator(tmp_path, configuration(NOWHERE), state_dir) as first:
        change(first, "mitra", prices={"S5": 5100}, stock={"S5": 1})
        DigiflazzBuyer(first.url).buy("081234567800", "K1")
        first.process.send_signal(signal.SIGKILL)
    with simulator(tmp_path, configuration(NOWHERE), state_dir) as second:
        shown = {row["dealer_id"]: row for row in second.get("dealers")}["mitra"]
        assert (shown["prices"], shown["stock"]) == ({"S5": 5100}, {"S5": 0})


@pytest.mark.parametrize(
    "wrong",
    [
        {"prices": {"S5": -1}},
        {"prices": {"S5": "5.000"}},
        {"stock": {"S5": 1.5}},
        {"latency": {"median_seconds": 0, "p99_seconds": 1}},
        {"latency": {"median_seconds": 2, "p99_seconds": 1}},
        {"always_succeeds": "yes"},
        {"price": {"S5": 5000}},
        [],
    ],
)
def test_a_wrong_change_changes_nothing(wrong: object) -> None:
    dealer = parse_config(configuration(NOWHERE)).dealers[0]

    with pytest.raises(ConfigError):
        changed(dealer, wrong)


def test_a_wrong_change_is_answered_with_the_reason(tmp_path: Path) -> None:
    with simulator(tmp_path, configuration(NOWHERE)) as running:
        answer = change(running, "mitra", prices={"S5": -1})
        assert answer.status_code == 422
        assert "prices" in answer.json()["error"]
        assert change(running, "nobody", prices={}).status_code == 404


def test_latency_has_the_median_and_the_tail_that_were_asked_for() -> None:
    random, latency = Random(7), Latency(0.8, 5.0)
    seconds = sorted(latency.sample(random) for _ in range(20_000))

    assert 0.75 < seconds[10_000] < 0.85
    assert 4.5 < seconds[19_800] < 5.5
    assert seconds[-1] <= 60


def test_without_a_configuration_every_protocol_is_spoken() -> None:
    config = standalone("http://shop.example/v1/callbacks/{dealer}/token")

    assert [dealer.protocol for dealer in config.dealers] == names()
    assert {d.callback_url.split("/")[-2] for d in config.dealers} == set(names())
    build_app(config)


def _offers(buyer: DigiflazzBuyer) -> list[dict[str, Any]]:
    with plain_client() as client:
        return client.send(buyer.post("price-list", "pricelist", cmd="prepaid")).json()["data"]
