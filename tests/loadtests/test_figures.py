"""What the load test concludes from what it saw: medians, ratios, percentiles, faults."""

import pytest

from loadtests.figures import Figures, medians, ratios
from loadtests.job import Percentiles, percentiles
from loadtests.report import BEGIN, END, with_figures
from loadtests.witnesses import book_faults


def figures(per_second: float, cpu_us: float = 10.0) -> Figures:
    return Figures(1000, 1000 / per_second, per_second, {"service": cpu_us})


def test_percentiles_are_values_that_occurred_by_nearest_rank():
    assert percentiles([each / 1000 for each in range(1, 101)]) == Percentiles(50.0, 99.0)
    assert percentiles([0.004]) == Percentiles(4.0, 4.0)
    assert percentiles([]) == Percentiles(0.0, 0.0)


def test_a_median_run_takes_each_figure_by_itself():
    runs = [{"accept": figures(100, 30)}, {"accept": figures(300, 10)}, {"accept": figures(200)}]
    median = medians(runs)["accept"]
    assert (median.per_second, median.cpu_us) == (200, {"service": 10})


def test_ratios_are_taken_within_a_run_before_their_median():
    runs = [
        {"accept": figures(100), "pgbench": figures(200)},
        {"accept": figures(900), "pgbench": figures(1000)},
        {"accept": figures(80), "pgbench": figures(100)},
    ]
    assert ratios(runs) == {"accept/pgbench": 0.8}


def test_hot_is_held_against_spread_and_every_arrangement_against_one_process():
    rates = {"serve-spread": 100, "serve-hot": 50, "many-spread": 200, "many-hot": 150}
    assert ratios([{name: figures(rate) for name, rate in rates.items()}]) == {
        "serve-hot/serve-spread": 0.5,
        "many-spread/serve-spread": 2.0,
        "many-hot/many-spread": 0.75,
    }


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
