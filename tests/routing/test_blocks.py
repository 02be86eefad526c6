"""An index in a block: every text with its number, and nothing else."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from routing.blocks import Index, written_index
from routing.table import BadTable

texts = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=6)


def index_of(numbers: dict[str, int]) -> Index:
    return Index(*map(memoryview, written_index(numbers)))


@given(st.dictionaries(texts, st.integers(0, 0xFFFFFFFF), max_size=40), st.lists(st.text()))
@example({"S10": 1, "S20": 2}, ["S10\nS20", "S1", "S10\n", "\nS10", "", "\ud800"])
@example({"": 0}, ["\n", ""])
@example({}, [""])
def test_each_text_has_its_number_and_no_other_has_one(numbers: dict[str, int], others: list[str]):
    index = index_of(numbers)
    assert list(index.items()) == list(numbers.items())
    assert len(index) == len(numbers)
    for other in others:
        assert index.find(other) == numbers.get(other)
        assert (other in index) is (other in numbers)


def test_texts_whose_hashes_share_a_place_are_told_apart():
    numbers = {f"S{n}": n for n in range(5_000)}
    index = index_of(numbers)
    assert all(index.find(text) == number for text, number in numbers.items())
    assert all(index.find(f"T{n}") is None for n in range(5_000))


def test_a_text_is_never_taken_for_the_first_of_two_lines():
    """Texts lie one behind the other: `A` and `B` must not be found as one text of two lines."""
    index = index_of(dict.fromkeys("ABCDEFGH", 1))
    pairs = (f"{one}\n{other}" for one in "ABCDEFGH" for other in "ABCDEFGH")
    assert not any(pair in index for pair in pairs)


@pytest.mark.parametrize("numbers", [{"S\n10": 1}, {"S10\n": 1}, {"S10": 2**32}, {"S10": -1}])
def test_what_has_no_place_in_an_index_is_refused(numbers: dict[str, int]):
    with pytest.raises(BadTable):
        written_index(numbers)
