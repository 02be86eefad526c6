"""Every protocol and every behaviour, over real sockets, through the running service.

What must become of each order stands in `expected.py` beforehand. The run writes down what it saw
in `docs/dealer-matrix.md`, which must be what is there: `make matrix` brings it up to date.
"""

import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.embedded.valkey import RunningValkey
from app.storage.lives import Outcome
from dealers.contract import Recovery
from dealers.simulator.behaviour import MEANINGS
from tests.matrix.expected import By, Cell, Fate, Means, expected
from tests.matrix.shop import BEHAVIOURS, REVIEW_AFTER_SECONDS, MatrixShop, Row, by, means_of

PAGE = Path(__file__).parents[2] / "docs" / "dealer-matrix.md"
TEMPLATE = Path(__file__).with_name("page.md")
FINAL = {"succeeded", "failed", "reversed"}
REWRITE = "JALUR_REWRITE_MATRIX"


SUMMARY: dict[str, object] = {}
"""What the last run in this process came to."""


@pytest.fixture
async def shop(
    tmp_path: Path, database_dsn: str, valkey: RunningValkey
) -> AsyncIterator[MatrixShop]:
    made = MatrixShop(tmp_path, database_dsn, valkey.url)
    try:
        made.start_helpers()
        await made.furnish()
        made.start(JALUR_REVIEW_AFTER_SECONDS=str(REVIEW_AFTER_SECONDS))
        await made.until_ready()
        yield made
    finally:
        made.end()


@pytest.mark.timeout(240)
async def test_every_protocol_under_every_behaviour_ends_as_stated(shop: MatrixShop):
    cells = await shop.order_everything()
    seen = await shop.witnesses()
    seen.assert_no_reference_was_bought_twice()
    outcomes = {each.ref_id: each for each in seen.outcomes}
    means = {row.protocol: means_of(row) for row in shop.matrix}
    found: dict[tuple[str, str], Cell] = {}
    wrong: list[str] = []
    for (protocol, digits), ref_id in cells.items():
        outcome, due = outcomes[ref_id], expected(digits, means[protocol])
        deliveries = seen.deliveries(outcome)
        cell = found[protocol, digits] = _cell(outcome, by(deliveries), due)
        if cell != due:
            wrong.append(f"{ref_id}: {cell}, not {due}")
        wrong += [f"{ref_id}: {each}" for each in _money_faults(outcome, deliveries, due)]
    fates = Counter(str(cell.fate) for cell in found.values())
    SUMMARY.update({"cells": len(found), "protocols": sorted(means), **fates, "wrong": wrong})
    assert not wrong, "\n".join(wrong)
    page = _page(shop.matrix, means, found)
    if os.environ.get(REWRITE):
        PAGE.write_text(page)
    assert PAGE.read_text() == page, "make matrix writes the page anew"


def _cell(outcome: Outcome, served: set[By], due: Cell) -> Cell:
    fate = Fate.DISPUTE if outcome.disputed_refs else Fate.EQUAL
    if outcome.in_review:
        fate = Fate.REVIEW
    if outcome.status not in FINAL:
        return Cell(fate, By.NOBODY, None)
    return Cell(fate, due.by if due.by in served else min(served), outcome.status)


def _money_faults(outcome: Outcome, deliveries: Counter[str], due: Cell) -> Iterator[str]:
    times = deliveries.total()
    if times > 1 + (due.fate is not Fate.EQUAL):
        yield f"delivered {times} times"
    if outcome.status in FINAL and outcome.charged != outcome.price * (
        outcome.status == "succeeded"
    ):
        yield f"charged {outcome.charged}"
    if due.fate is Fate.EQUAL and times != (outcome.status == "succeeded"):
        yield f"{outcome.status}, delivered {times} times"


_LETTERS = {Fate.EQUAL: "=", Fate.DISPUTE: "D", Fate.REVIEW: "R"}


def _page(rows: list[Row], means: dict[str, Means], found: dict[tuple[str, str], Cell]) -> str:
    head = ["| the dealer | " + " | ".join(f"`{row.protocol}`" for row in rows) + " |"]
    head.append("|---|" + "---|" * len(rows))
    lines = [
        f"| {digits}: {MEANINGS.get(digits, 'delivers at once')} | "
        + " | ".join(_word(found[row.protocol, digits]) for row in rows)
        + " |"
        for digits in BEHAVIOURS
    ]
    can = [
        f"| `{row.protocol}` | {_RECOVERY[means[row.protocol].recovery]} | "
        f"{'yes' if means[row.protocol].proves_absence else 'no'} | "
        f"{'a word' if means[row.protocol].callback_is_word else 'a hint'} | "
        f"{'yes' if means[row.protocol].tells_reversals else 'no'} |"
        for row in rows
    ]
    columns, table = "\n".join(can), "\n".join([*head, *lines])
    return TEMPLATE.read_text().format(cells=len(found), matrix=table, can=columns)


def _word(cell: Cell) -> str:
    letter = _LETTERS[cell.fate]
    match cell.status:
        case None:
            return letter
        case "succeeded":
            return f"{letter} {'next' if cell.by is By.BACKUP else 'served'}"
        case status:
            return f"{letter} {status}"


_RECOVERY = {
    Recovery.STATUS_CALL: "a status call",
    Recovery.SAME_REF_IS_STATUS: "the same reference again",
    Recovery.NONE: "no way",
}
