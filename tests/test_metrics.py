"""Metrics: named and bounded as Prometheus wants them, and as the documentation says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from app.metrics import _HTTP_SECONDS, Metrics
from routing.health import BreakerState
from routing.monopoly import HHI_ALARM, HHI_WARNING, GroupTotal, Market, MarketTotals
from routing.quality import Level, Quality

ROOT = Path(__file__).parents[1]
DEPLOYED = ROOT / "deploy" / "prometheus"
OPERATING = (ROOT / "docs" / "operating.md").read_text()
XL = Market("xl", "east-java")
_PARTS = ("_total", "_bucket", "_count", "_sum", "_info")


@pytest.fixture(scope="module")
def exposed() -> dict[str, str]:
    """Every metric's type, by the name that it has in queries."""
    return types_of(exercised())


def used_metrics(text: str) -> set[str]:
    """The metrics that a text names: recorded series, which have a colon, left out."""
    found = re.findall(r"(?<![\w:/.-])jalur_[a-z_]+[a-z](?![\w:])", text)
    parts = "|".join(_PARTS[1:-1])
    return {re.sub(rf"({parts})$", "", name) for name in found} - {"jalur_service", "jalur_owner"}


def exercised() -> Metrics:
    """Every method called, so that every label stands somewhere."""
    metrics = Metrics()
    metrics.order_accepted()
    metrics.order_replayed()
    metrics.order_refused("invalid-number")
    metrics.order_shed("queues")
    metrics.intake({"accept": 0.02}, 1.0)
    metrics.order_finished("succeeded")
    metrics.forced_monopoly(XL)
    metrics.monopoly_avoided(XL, 75)
    metrics.batch("accept", 12)
    metrics.markets({XL: market(("satu", 600, 6), ("dua", 400, 4))})
    metrics.policy(0.5, 50)
    metrics.share_rows("published", 3)
    metrics.shares_counted_anew("gap", 0.2)
    metrics.shares_corrected(0.0003)
    metrics.share_exchange(0.4, 2)
    metrics.http_request("POST", "/v1/orders", 202, 0.004)
    metrics.settled("alfa", "purchase", "succeeded")
    metrics.dealer_called("alfa", "question", 0.2)
    metrics.dealer_call_failed("alfa", "purchase", "cut")
    metrics.called_back("alfa", "applied")
    metrics.in_flight({("alfa", "purchase"): 3})
    metrics.breakers({"alfa": BreakerState.OPEN})
    metrics.dealer_quality({("alfa", "pulsa"): Quality(8_500, 0, 40, Level.WARNING)})
    metrics.balance_pulled("alfa", "agrees")
    account = dict.fromkeys(
        ("told", "expected", "difference", "differs", "in_flight", "age", "runway"), 1.0
    )
    metrics.dealer_accounts([("alfa", account)])
    metrics.price_risen("alfa")
    metrics.price_risen_routes(1)
    metrics.delivered("retry")
    metrics.redis_up(True)
    metrics.loop_lagged(0.002)
    metrics.waiting({"accept": 1})
    metrics.connections(4, 3, 16)
    metrics.duty_done("table", 1.0)
    metrics.duty_failed("table")
    return metrics


def market(*groups: tuple[str, int, int]) -> MarketTotals:
    return MarketTotals.of({name: GroupTotal(value, orders) for name, value, orders in groups})


def types_of(metrics: Metrics) -> dict[str, str]:
    lines = metrics.exposition().decode().splitlines()
    typed = [line.split()[2:] for line in lines if line.startswith("# TYPE jalur_")]
    return dict(typed)


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        tuple(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def test_promtool_finds_nothing_to_complain_of() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing; test_prometheus.py fails for it where it must not be")
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=exercised().exposition(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_every_metric_is_explained() -> None:
    for family in text_string_to_metric_families(exercised().exposition().decode()):
        assert family.documentation.strip(), family.name


def test_counters_and_only_counters_end_in_total(exposed: dict[str, str]) -> None:
    assert exposed
    for name, kind in exposed.items():
        assert name.endswith("_total") == (kind == "counter"), name


def test_documentation_lists_every_metric_with_its_type(exposed: dict[str, str]) -> None:
    rows = re.findall(r"^\| `(jalur_[a-z_]+)(?:\{[^}]*\})?` \| (\w+) \|", OPERATING, re.MULTILINE)
    assert dict(rows) == exposed
    assert len(rows) == len(exposed)


def test_documentation_lists_every_label() -> None:
    rows = re.findall(r"^\| `(jalur_[a-z_]+)(?:\{([^}]*)\})?` \|", OPERATING, re.MULTILINE)
    documented = {name: set(filter(None, labels.split(","))) for name, labels in rows}
    for family in text_string_to_metric_families(exercised().exposition().decode()):
        for sample in family.samples:
            name = re.sub("(_bucket|_count|_sum)$", "", sample.name)
            if name.startswith("jalur_"):
                assert set(sample.labels) - {"le"} == documented[name], name


def test_documentation_names_no_metric_that_is_gone(exposed: dict[str, str]) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        assert used_metrics(page.read_text()) - {"jalur_app"} <= set(exposed), page.name


def test_dealer_that_is_gone_leaves_no_series_behind() -> None:
    metrics = Metrics()
    metrics.breakers({"alfa": BreakerState.OPEN, "beta": BreakerState.CLOSED})
    metrics.in_flight({("alfa", "purchase"): 1})
    metrics.breakers({"beta": BreakerState.CLOSED})
    metrics.in_flight({})
    assert b'dealer="alfa"' not in metrics.exposition()


def test_breaker_stands_in_one_state() -> None:
    metrics = Metrics()
    metrics.breakers({"alfa": BreakerState.HALF_OPEN})
    assert samples(metrics, "jalur_dealer_breaker_state") == {
        ("alfa", "closed"): 0,
        ("alfa", "open"): 0,
        ("alfa", "half-open"): 1,
    }


def test_quality_is_a_ratio_and_stands_at_one_level() -> None:
    metrics = Metrics()
    metrics.dealer_quality({("alfa", "pulsa"): Quality(6_999, 0, 40, Level.CRITICAL)})
    assert samples(metrics, "jalur_dealer_success_ratio") == {("alfa", "pulsa"): 0.6999}
    assert samples(metrics, "jalur_dealer_quality_level") == {
        ("alfa", "ok", "pulsa"): 0,
        ("alfa", "warning", "pulsa"): 0,
        ("alfa", "critical", "pulsa"): 1,
    }
    metrics.dealer_quality({})
    assert b"alfa" not in metrics.exposition()


def test_the_rules_alert_at_the_levels_of_concentration() -> None:
    rules = (DEPLOYED / "rules" / "jalur.yml").read_text()
    levels = re.findall(r"jalur_market_herfindahl_index\) > (\d+)", rules)
    assert [int(level) for level in levels] == [HHI_WARNING, HHI_ALARM]


def test_shares_and_concentration_follow_purchase_value() -> None:
    metrics = Metrics()
    metrics.markets({XL: market(("satu", 600, 6), ("dua", 400, 4))})
    shares = samples(metrics, "jalur_market_share_ratio")
    assert shares == {("xl", "east-java", "satu"): 0.6, ("xl", "east-java", "dua"): 0.4}
    assert samples(metrics, "jalur_market_herfindahl_index") == {("xl", "east-java"): 5200}
    assert samples(metrics, "jalur_market_orders") == {("xl", "east-java"): 10}


def test_however_many_markets_there_are_only_the_largest_are_series() -> None:
    metrics = Metrics()
    many = {Market("xl", f"c{number}"): market(("satu", 1, number)) for number in range(1000)}
    metrics.markets(many)
    shown = samples(metrics, "jalur_market_orders")
    assert len(shown) == 200
    assert min(shown.values()) == 800


def test_durations_are_told_as_the_librarys_histogram_tells_them() -> None:
    metrics, registry = Metrics(), CollectorRegistry()
    name = "jalur_http_request_duration_seconds"
    theirs = Histogram(name, "", ("status",), buckets=_HTTP_SECONDS, registry=registry)
    for seconds in (0.0, 0.0004, 0.001, 0.0011, 0.3, 5.0, 5.1, 60.0):
        metrics.http_request("POST", "/v1/orders", 202, seconds)
        theirs.labels("2xx").observe(seconds)
    ours = metrics.exposition().decode().replace('method="POST",route="/v1/orders",', "")
    told = [line for line in generate_latest(registry).decode().splitlines() if line[0] != "#"]
    assert len(told) == len(_HTTP_SECONDS) + len(("+Inf", "count", "sum"))
    assert set(told) <= set(ours.splitlines())


def test_empty_market_has_no_shares_and_breaks_nothing() -> None:
    metrics = Metrics()
    metrics.markets({XL: market()})
    assert samples(metrics, "jalur_market_share_ratio") == {}
    assert samples(metrics, "jalur_market_herfindahl_index") == {("xl", "east-java"): 0}


def test_redis_is_absent_where_there_is_none() -> None:
    metrics = Metrics()
    assert samples(metrics, "jalur_redis_up") == {}
    metrics.redis_up(False)
    assert samples(metrics, "jalur_redis_up") == {(): 0}
