"""What the load tests conclude from what they saw: medians, ratios, bounds, faults."""

from dataclasses import replace

import pytest

from loadtests.figures import Figures, Run, Spread, bounds, medians, most_reached, rates, ratios
from loadtests.job import Percentiles, percentiles
from loadtests.report import BEGIN, END, with_figures
from loadtests.witnesses import book_faults

SOME = Percentiles(1.0, 2.0, 3.0)


def figures(per_second: float, cpu_us: float = 10.0, p99_ms: float = 2.0) -> Figures:
    end_to_end = replace(SOME, p99_ms=p99_ms)
    return Figures(
        1000, 1000 / per_second, per_second, {"service": cpu_us}, SOME, end_to_end=end_to_end
    )


def run(**by_name: float) -> Run:
    return {name.replace("_", "-"): figures(rate) for name, rate in by_name.items()}


def found(runs: list[Run]) -> dict[str, float | None]:
    return {bound.name: bound.found for bound in bounds(runs)}


def test_percentiles_are_values_that_occurred_by_nearest_rank():
    assert percentiles([each / 1000 for each in range(1, 101)]) == Percentiles(50.0, 99.0, 100.0)
    assert percentiles([each / 1000 for each in range(1, 1001)]) == Percentiles(500, 990, 999)
    assert percentiles([each / 1000 for each in range(2000, 0, -1)]) == Percentiles(
        1000, 1980, 1998
    )
    assert percentiles([0.004]) == Percentiles(4.0, 4.0, 4.0)
    assert percentiles([]) == Percentiles(0.0, 0.0, 0.0)


def test_a_median_run_takes_each_figure_by_itself():
    runs = [{"accept": figures(100, 30)}, {"accept": figures(300, 10)}, {"accept": figures(200)}]
    median = medians(runs)["accept"]
    assert (median.per_second, median.cpu_us) == (200, {"service": 10})


def test_what_one_run_lost_or_doubled_is_in_no_median_outvoted():
    whole = figures(100)
    runs = [{"serve-spread": replace(whole, lost=lost, doubled=0)} for lost in (0, 3, 0)]
    median = medians(runs)["serve-spread"]
    assert (median.lost, median.doubled) == (3, 0)
    runs = [{"serve-spread": replace(whole, refused=refused)} for refused in (0, 7, 0)]
    assert medians(runs)["serve-spread"].refused == 7
    assert medians([{"bare": whole}])["bare"].lost is None


def test_rates_are_given_with_the_least_and_the_most():
    runs = [run(accept=300), run(accept=100), run(accept=110)]
    assert rates(runs) == {"accept": Spread(110, 100, 300)}
    assert str(rates(runs)["accept"]) == "110 (100 to 300)"
    assert str(Spread(0.5, 0.5, 0.5)) == "0.50"


def test_ratios_are_taken_within_a_run_before_their_median():
    runs = [
        {"accept": figures(100), "pgbench": figures(200)},
        {"accept": figures(900), "pgbench": figures(1000)},
        {"accept": figures(80), "pgbench": figures(100)},
    ]
    assert ratios(runs) == {"accept / pgbench": Spread(0.8, 0.5, 0.9)}


def test_hot_is_held_against_spread_and_every_arrangement_against_one_process():
    given = run(serve_spread=100, serve_hot=50, many_spread=200, many_hot=150)
    assert {name: each.median for name, each in ratios([given]).items()} == {
        "serve-hot / serve-spread": 0.5,
        "many-spread / serve-spread": 2.0,
        "many-hot / many-spread": 0.75,
    }


def test_a_peer_is_held_against_the_best_closed_load_and_an_open_one_against_nothing():
    given = run(serve_spread=100, serve_spread_256=120, kannel_durable=60, serve_open_50=60)
    assert {name: each.median for name, each in ratios([given]).items()} == {
        "serve-spread-256 / serve-spread": 1.2,
        "end to end / kannel-durable": 2.0,
    }


def test_the_fastest_arrangement_is_held_against_others_and_one_process_gives_open_loads():
    given = run(serve_spread=100, apart_spread=180, two_spread=90, apart_hot=300, pgbench=360)
    assert most_reached(given) == 100
    assert found([given])["end to end / pgbench"] == 0.5


def test_bounds_are_medians_of_what_each_run_says_by_itself():
    runs = [
        run(pgbench=1000, serve_spread=300, serve_spread_256=400, serve_hot=200),
        run(pgbench=100, serve_spread=50, serve_spread_256=20, serve_hot=50),
        run(pgbench=500, serve_spread=150, serve_spread_256=100, serve_hot=50),
    ]
    assert found(runs)["end to end / pgbench"] == 0.4
    assert found(runs)["serve-spread / serve-hot"] == 1.5
    met = {bound.name: bound.met for bound in bounds(runs)}
    assert met["end to end / pgbench"] is True
    assert met["serve-spread / serve-hot"] is False
    assert met["accept / bare"] is None


def test_the_slow_peer_is_taken_where_it_is_faster():
    given = run(serve_spread=900, arq_httpx_durable=20, arq_httpx_volatile=30, arq_aiohttp=300)
    assert found([given])["end to end / the faster arq-httpx"] == 30


def test_the_longest_durations_are_judged_at_half_of_the_most():
    given = {"serve-open-50": figures(100, p99_ms=151), "serve-open-75": figures(100, p99_ms=900)}
    bound = next(each for each in bounds([given]) if "p99" in each.name)
    assert (bound.found, bound.met) == (151, False)


def test_who_refuses_orders_is_not_fast_with_the_others():
    runs = [{"serve-open-50": replace(figures(100), refused=refused)} for refused in (0, 3, 0)]
    bound = next(each for each in bounds(runs) if "refused" in each.name)
    assert (bound.found, bound.met) == (3, False)


def test_the_share_of_what_stands_around_the_service_is_known():
    cpu = {"service": 60.0, "postgres": 20.0, "simulator": 10.0, "receiver": 4.0, "client": 6.0}
    measured = replace(figures(10_000), cpu_us=cpu)
    assert measured.share_around == 0.2
    assert measured.busiest_around == 0.1


def test_a_page_keeps_what_is_outside_its_markers():
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_figures(page, "new\n") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="markers"):
        with_figures("nothing here", "new\n")


def delivery(number: str, ref: str) -> dict[str, str]:
    return {"dealer": "nusantara", "dealer_ref": ref, "customer_number": number}


@pytest.mark.parametrize(
    ("book", "fault"),
    [
        ([delivery("0812", "A")], "customers served"),
        ([delivery("0812", "A"), delivery("0812", "B")], "more than once"),
        ([delivery("0812", "A"), delivery("0813", "C")], "differ from the book"),
    ],
)
def test_a_book_that_tells_another_story_is_a_fault(book: list[dict[str, str]], fault: str):
    faults = book_faults(book, {("nusantara", "A"), ("nusantara", "B")}, accepted=2)
    assert any(fault in each for each in faults)


def test_a_book_with_every_order_once_is_no_fault():
    book = [delivery("0812", "A"), delivery("0813", "B")]
    assert book_faults(book, {("nusantara", "A"), ("nusantara", "B")}, accepted=2) == []
