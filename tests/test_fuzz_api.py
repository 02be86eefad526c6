"""Once through the fuzzing of the whole API; `make fuzz-api` takes longer and finds more."""

import os

import pytest

from tests.fuzz_api import fuzz


@pytest.mark.timeout(600)
def test_nothing_sent_is_answered_by_a_fault_or_by_what_is_not_described() -> None:
    examples = int(os.environ.get("JALUR_FUZZ_EXAMPLES", "3"))
    found = fuzz(None, examples=examples, seed=1)
    assert found["met"], found
    assert found["tested"] >= 80, found
    assert found["cases"] > 300
