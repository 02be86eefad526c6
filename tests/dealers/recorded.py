"""Reads the recorded exchanges in `tests/recordings/<protocol>/`, one JSON file a case.

`_account.json` holds the account that the recordings belong to. A case has a `kind`, an `answer`
(or a `callback`) and what must be read from it; fields that `expected` leaves out keep the
report's defaults. `json` is a body to be dumped, `body` a literal one, `repeat` multiplies it.
"""

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from dealers.contract import Account, Answer, Callback, Fault, Outcome, Report, TopUp
from dealers.registry import Dialect, load

_RECORDINGS = Path(__file__).parent.parent / "recordings"

ORDER = TopUp(
    dealer_ref="07K3M9Q2Z8X5C1V4B6N0RT",
    dealer_sku="X10",
    customer_number="081234567890",
    max_price_rupiah=10_500,
    callback_url="https://jalur.example/v1/callbacks/d1",
)


SKUS = {"reloadly": "1187:10000", "dtone": "6035"}
"""Where a protocol asks for a shape of its own."""


def order(protocol: str) -> TopUp:
    """`ORDER` as this protocol's dealers name the product."""
    return replace(ORDER, dealer_sku=SKUS.get(protocol, ORDER.dealer_sku))


@dataclass(frozen=True)
class Case:
    dialect: Dialect
    account: Account
    name: str
    recording: dict[str, Any]

    @property
    def expected(self) -> dict[str, Any]:
        return self.recording["expected"]

    def answer(self) -> Answer:
        answer = self.recording["answer"]
        body = json.dumps(answer["json"]) if "json" in answer else answer["body"]
        return Answer(
            status=answer["status"],
            headers=answer["headers"],
            body=body.encode() * answer.get("repeat", 1),
            truncated=answer.get("truncated", False),
        )

    def callback(self) -> Callback:
        callback = self.recording["callback"]
        return Callback(**{**callback, "body": callback["body"].encode()})


@cache
def account(protocol: str) -> Account:
    return Account("d1", **json.loads((_RECORDINGS / protocol / "_account.json").read_text()))


def cases(*kinds: str) -> list[Case]:
    return [case for case in _all_cases() if case.recording["kind"] in kinds]


def case(protocol: str, name: str) -> Case:
    return next(case for case in _all_cases() if (case.dialect.name, case.name) == (protocol, name))


def report(expected: dict[str, Any], message: str) -> Report:
    fields = {**expected, "outcome": Outcome(expected["outcome"]), "message": message}
    if "fault" in expected:
        fields["fault"] = Fault(expected["fault"])
    return Report(**fields)


@cache
def _all_cases() -> list[Case]:
    return [
        Case(dialect, account(dialect.name), path.stem, json.loads(path.read_text()))
        for dialect in load().values()
        for path in sorted((_RECORDINGS / dialect.name).glob("[!_]*.json"))
    ]
