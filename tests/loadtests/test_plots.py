"""The pictures of the benchmark: drawn from its figures, the same each time."""

from dataclasses import replace
from xml.etree import ElementTree

from loadtests import plots
from loadtests.figures import Figures
from loadtests.job import Percentiles

WHOLE = Figures(
    1000,
    2.0,
    500.0,
    {"service": 300.0, "postgres": 60.0, "simulator": 30.0, "receiver": 20.0, "client": 20.0},
    end_to_end=Percentiles(11.0, 22.0, 33.0),
)
RUN = {
    "pgbench": Figures(5000, 1.0, 5000.0, {"postgres": 120.0, "pgbench": 20.0}),
    "serve-spread": WHOLE,
    "serve-open-50": replace(WHOLE, per_second=250.0),
}


def texts(image: str) -> list[str]:
    return [each.text for each in ElementTree.fromstring(image).iter() if each.text]


def test_every_picture_names_what_it_shows_and_is_well_formed():
    drawn = plots.draw([RUN])
    assert set(drawn) == set(plots.TITLES)
    assert {"pgbench", "5,000", "serve-spread", "500"} <= set(texts(drawn["rates"]))
    assert "serve-open-50" not in texts(drawn["rates"])
    assert {"p50", "p99", "p99.9", "11", "22", "33"} <= set(texts(drawn["durations"]))
    assert {"Jalur", "PostgreSQL", "dealers", "client"} <= set(texts(drawn["cpu"]))


def test_the_same_figures_give_the_same_bytes():
    assert plots.draw([RUN]) == plots.draw([RUN])


def test_what_was_not_measured_is_not_drawn():
    assert set(plots.draw([{"pgbench": RUN["pgbench"]}])) == {"rates"}
