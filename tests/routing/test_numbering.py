from contextlib import suppress

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.numbering import (
    INDONESIAN_PREFIXES,
    BrandTable,
    InvalidNumber,
    NumberFault,
    mask,
    normalise,
)

DIGITS = "0123456789"
national = st.text(DIGITS, min_size=8, max_size=11).map(lambda rest: "08" + rest)


@pytest.mark.parametrize(
    "raw",
    [
        "081234567890",
        "6281234567890",
        "+6281234567890",
        "+62 812-3456-7890",
        "(0812) 3456.7890",
        "  0812 3456 7890 ",
        "+62 (812) 3456 7890",
    ],
)
def test_every_way_to_write_a_number_becomes_the_national_form(raw):
    assert normalise(raw) == "081234567890"


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ("", NumberFault.EMPTY),
        (" .-() ", NumberFault.EMPTY),
        ("0812345678a0", NumberFault.FOREIGN_CHARACTER),
        ("08" + "\u0661" * 9, NumberFault.FOREIGN_CHARACTER),
        ("08" + "\uff11" * 9, NumberFault.FOREIGN_CHARACTER),
        ("08123456789²", NumberFault.FOREIGN_CHARACTER),
        ("0812345678📱0", NumberFault.FOREIGN_CHARACTER),
        ("081234567890\n", NumberFault.FOREIGN_CHARACTER),
        ("0812\u00a034567890", NumberFault.FOREIGN_CHARACTER),
        ("0812+34567890", NumberFault.FOREIGN_CHARACTER),
        ("++6281234567890", NumberFault.FOREIGN_CHARACTER),
        ("+081234567890", NumberFault.NOT_MOBILE),
        ("0211234567", NumberFault.NOT_MOBILE),
        ("+6581234567", NumberFault.NOT_MOBILE),
        ("81234567890", NumberFault.NOT_MOBILE),
        ("+62081234567890", NumberFault.NOT_MOBILE),
        ("081234567", NumberFault.WRONG_LENGTH),
        ("08123456789012", NumberFault.WRONG_LENGTH),
        ("0" * 33, NumberFault.TOO_MANY_CHARACTERS),
        (" " * 33, NumberFault.TOO_MANY_CHARACTERS),
    ],
)
def test_what_is_not_a_mobile_number_is_refused_with_its_reason(raw, fault):
    with pytest.raises(InvalidNumber) as refused:
        normalise(raw)
    assert refused.value.reason is fault


@given(national)
def test_all_three_forms_of_a_number_agree(number):
    assert normalise(number) == normalise("62" + number[1:]) == normalise("+62" + number[1:])
    assert normalise(number) == number


@given(national, st.lists(st.sampled_from(["", " ", ".", "-", "(", ")"]), min_size=14))
def test_separators_never_change_the_number(number, separators):
    raw = "".join(separator + digit for separator, digit in zip(separators, number, strict=False))
    assert normalise(raw) == number


@given(st.sampled_from(["08", "628", "+628"]), st.text(DIGITS, min_size=5, max_size=14))
def test_the_accepted_shapes_are_those_that_the_numbering_library_finds_possible(start, rest):
    parsed = phonenumbers.parse("+628" + rest)
    national_digits = phonenumbers.national_significant_number(parsed)
    if 9 <= len("8" + rest) <= 12:
        assert normalise(start + rest) == "0" + national_digits
        assert phonenumbers.is_possible_number(parsed)
    else:
        with pytest.raises(InvalidNumber, match="wrong-length"):
            normalise(start + rest)


@given(st.text(max_size=40))
def test_any_text_is_either_a_number_or_refused(raw):
    with suppress(InvalidNumber):
        assert normalise(raw).startswith("08")


@pytest.mark.parametrize(
    ("number", "brand"),
    [
        ("081234567890", "telkomsel"),
        ("085112345678", "telkomsel"),
        ("085412345678", None),
        ("085155123456", "byu"),
        ("085158123456", "byu"),
        ("085159123456", "telkomsel"),
        ("085712345678", "im3"),
        ("089512345678", "tri"),
        ("087812345678", "xl"),
        ("083812345678", "axis"),
        ("088912345678", "smartfren"),
        ("080012345678", None),
    ],
)
def test_brands_follow_the_longest_prefix(number, brand):
    assert BrandTable(INDONESIAN_PREFIXES).brand_of(number) == brand


prefixes = st.text(DIGITS[:3], min_size=1, max_size=5).map(lambda rest: "08" + rest)


@given(
    st.dictionaries(prefixes, st.sampled_from("abc")),
    st.text(DIGITS[:3], min_size=8, max_size=11).map(lambda rest: "08" + rest),
)
def test_look_up_equals_a_search_of_all_prefixes(rows, number):
    matching = [prefix for prefix in rows if number.startswith(prefix)]
    expected = rows[max(matching, key=len)] if matching else None
    assert BrandTable(rows.items()).brand_of(number) == expected


@pytest.mark.parametrize("prefix", ["", "08", "0211", "08a1", "08123456", "08\u0661\u0661"])
def test_a_prefix_that_is_not_mobile_is_refused(prefix):
    with pytest.raises(ValueError, match="prefix"):
        BrandTable([(prefix, "xl")])


def test_a_prefix_of_two_brands_is_refused():
    with pytest.raises(ValueError, match="both xl and axis"):
        BrandTable([("0838", "xl"), ("0838", "axis")])


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("081234567890", "0812****7890"),
        ("0812345678901", "0812****8901"),
        ("0812345678", "0812****78"),
        ("08123456", "0812****"),
        ("0812", "****"),
        ("", "****"),
    ],
)
def test_masking_hides_at_least_four_digits(number, masked):
    assert mask(number) == masked
