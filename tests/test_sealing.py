"""Secrets at rest: what opens them, and what does not."""

import base64

import pytest

from app.sealing import CannotOpen, InvalidKey, Sealer, generate_key

OLD, NEW = generate_key(), generate_key()
CONTEXT = b"dealer:alpha"


def test_a_sealed_secret_opens_again_and_does_not_show_through():
    sealed = Sealer([NEW]).seal("rahasia €", CONTEXT)
    assert Sealer([NEW]).open(sealed, CONTEXT) == "rahasia €"
    assert b"rahasia" not in sealed


def test_the_same_secret_is_sealed_differently_each_time():
    sealer = Sealer([NEW])
    assert sealer.seal("pin", CONTEXT) != sealer.seal("pin", CONTEXT)


def test_after_rotation_the_old_key_still_opens_and_the_new_one_seals():
    sealed_before = Sealer([OLD]).seal("pin", CONTEXT)
    rotated = Sealer([NEW, OLD])
    assert rotated.open(sealed_before, CONTEXT) == "pin"
    assert Sealer([NEW]).open(rotated.seal("pin", CONTEXT), CONTEXT) == "pin"


def test_without_the_old_key_the_error_says_so():
    sealed = Sealer([OLD]).seal("pin", CONTEXT)
    with pytest.raises(CannotOpen, match="key that is not configured"):
        Sealer([NEW]).open(sealed, CONTEXT)


def test_a_secret_moved_to_another_place_does_not_open():
    sealed = Sealer([NEW]).seal("pin", b"dealer:alpha")
    with pytest.raises(CannotOpen, match="belongs elsewhere"):
        Sealer([NEW]).open(sealed, b"dealer:beta")


def test_a_change_of_any_single_byte_is_noticed():
    sealer = Sealer([NEW])
    sealed = sealer.seal("pin", CONTEXT)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(CannotOpen):
            sealer.open(bytes(changed), CONTEXT)


@pytest.mark.parametrize("size", [0, 1, 5, 20, 32])
def test_a_torn_value_is_refused(size: int):
    sealer = Sealer([NEW])
    with pytest.raises(CannotOpen):
        sealer.open(sealer.seal("pin", CONTEXT)[:size], CONTEXT)


@pytest.mark.parametrize(
    "key", ["", "not base64!", "kunci-é", base64.b64encode(b"x" * 31).decode()]
)
def test_a_malformed_key_is_refused(key: str):
    with pytest.raises(InvalidKey):
        Sealer([key])


def test_at_least_one_key_is_needed():
    with pytest.raises(InvalidKey, match="at least one"):
        Sealer([])
