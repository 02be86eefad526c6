"""Parts of a whole: fair, and never more than all of it, whatever each process believes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.division import Part, fair, granted, whole

names = st.lists(st.uuids().map(str), min_size=1, max_size=8, unique=True).map(sorted)


@given(st.integers(0, 200), names, st.text(min_size=1, max_size=8))
def test_fair_parts_make_the_whole_and_differ_by_one_at_most(
    total: int, processes: list[str], dealer_id: str
):
    parts = [fair(total, processes, each, dealer_id) for each in processes]
    assert sum(parts) == total
    assert max(parts) - min(parts) <= 1


def test_limits_of_one_are_spread_over_the_processes():
    processes = ["a", "b"]
    owners = {fair(1, processes, "a", f"dealer-{number}") for number in range(20)}
    assert owners == {0, 1}


@given(
    st.integers(1, 40),
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 40), st.sets(st.integers(0, 4))), max_size=80
    ),
)
def test_what_is_held_never_exceeds_the_whole(total: int, acts: list[tuple[int, int, set[int]]]):
    """Each looks at what the others hold and writes its own, one after the other, and believes
    whatever it likes about who is alive; calls under way end whenever they like."""
    held, in_use, own = dict.fromkeys(range(5), 0), dict.fromkeys(range(5), 0), [0] * 5
    for process, wish, believed in acts:
        alive = sorted(str(each) for each in believed | {process})
        part = fair(total, alive, str(process), "dealer")
        others = sum(count for each, count in held.items() if each != process)
        own[process] = granted(total, part, others)
        held[process] = max(own[process], in_use[process])
        assert sum(held.values()) <= total
        in_use[process] = min(wish, max(own[process], in_use[process]))
        assert sum(in_use.values()) <= total


@given(st.integers(1, 40), st.integers(1, 6))
def test_everybody_comes_to_have_a_fair_part_in_two_rounds(total: int, count: int):
    processes = [str(each) for each in range(count)]
    held = {"0": total}
    for _ in range(2):
        for each in processes:
            others = sum(part for name, part in held.items() if name != each)
            held[each] = granted(total, fair(total, processes, each, "dealer"), others)
    assert sum(held.values()) == total
    assert max(held.values()) - min(held.values()) <= 1


@pytest.mark.parametrize(
    ("rate", "units"), [(None, 0), (0.1, 1), (1.0, 1), (7.9, 1), (8.0, 2), (20.0, 5), (100.0, 25)]
)
def test_a_rate_comes_in_units_of_a_quarter_of_a_second(rate: float | None, units: int):
    assert whole(32, rate) == Part(32, units)
