"""Brands by every series in use; clusters by region, else outlet, else number."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.clusters import Clusters, UnknownRegion
from routing.numbering import INDONESIAN_PREFIXES, BrandTable, ClusterTable

TOKO, OTHER = UUID(int=1), UUID(int=2)
NUMBER = "081234567890"
CLUSTERS = Clusters(
    {"bandung": "jabar", "surabaya": "jatim"},
    {(TOKO, "12"): "surabaya"},
    ClusterTable([("08123", "jateng"), ("0812345", "jabodetabek")]),
)
SERIES = {
    "telkomsel": [*range(811, 814), *range(821, 824), 851, 852, 853],
    "im3": [*range(814, 817), *range(855, 859)],
    "tri": [*range(895, 900)],
    "xl": [*range(817, 820), 859, *range(877, 880)],
    "axis": [831, 832, 833, 838],
    "smartfren": [*range(881, 890)],
}
BRAND_OF = {series: brand for brand, held in SERIES.items() for series in held}


@pytest.mark.parametrize("series", range(800, 900))
def test_every_series_belongs_to_its_brand_and_no_other(series: int):
    brands = BrandTable(INDONESIAN_PREFIXES)
    for fourth in range(100):
        number = f"0{series}{fourth:02}12345"
        by_u = 85_155 <= series * 100 + fourth <= 85_158
        assert brands.brand_of(number) == ("byu" if by_u else BRAND_OF.get(series))


def test_region_counts_before_the_outlet_and_the_outlet_before_the_number():
    assert CLUSTERS.of("bandung", (TOKO, "12"), NUMBER) == "jabar"
    assert CLUSTERS.of(None, (TOKO, "12"), NUMBER) == "jatim"
    assert CLUSTERS.of(None, None, NUMBER) == "jabodetabek"
    assert CLUSTERS.of(None, None, "081239999999") == "jateng"
    assert CLUSTERS.of(None, None, "081999999999") is None


@pytest.mark.parametrize("outlet", [(TOKO, "13"), (OTHER, "12")])
def test_outlet_that_is_not_listed_or_another_reseller_s_says_nothing(outlet: tuple[UUID, str]):
    assert CLUSTERS.of(None, outlet, NUMBER) == "jabodetabek"


def test_region_that_is_not_known_is_refused_whatever_else_is_known():
    with pytest.raises(UnknownRegion):
        CLUSTERS.of("atlantis", (TOKO, "12"), NUMBER)


@pytest.mark.parametrize("prefix", ["0812", "08123456789", "02112", "0812x"])
def test_prefix_that_tells_no_cluster_is_refused(prefix: str):
    with pytest.raises(ValueError, match="prefix"):
        ClusterTable([(prefix, "jabar")])


prefixes = st.text("123", min_size=3, max_size=8).map(lambda rest: "08" + rest)


@given(
    st.dictionaries(prefixes, st.sampled_from("abc")),
    st.text("123", min_size=8, max_size=11).map(lambda rest: "08" + rest),
)
def test_cluster_by_number_is_that_of_the_longest_prefix(rows: dict[str, str], number: str):
    matching = [prefix for prefix in rows if number.startswith(prefix)]
    expected = rows[max(matching, key=len)] if matching else None
    assert ClusterTable(rows.items()).cluster_of(number) == expected
