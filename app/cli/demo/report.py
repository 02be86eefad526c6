"""The demo's verdict: what was ordered, bought, charged and reported, held against each other.

Four witnesses are asked: Jalur's own tables, the simulator's book of what it really delivered, the
receiver's list of verified webhooks, and the ledger's audit.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import httpx

from app.cli.demo.orders import Sent
from app.cli.demo.stage import Stage
from app.storage import statements
from app.storage.lives import Outcome
from app.storage.pool import Connection
from app.storage.statements import Discrepancy

_MAY_STAY_OPEN = "88"
_FINAL = frozenset({"succeeded", "failed", "reversed"})


async def simulator_is_done(client: httpx.AsyncClient, simulator_url: str) -> bool:
    """Whether the simulated dealers will do nothing more by themselves."""
    return (await client.get(f"{simulator_url}/agenda")).json()["pending"] == 0


def stuck(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Orders in review that should not be: all but those whose dealer never resolves them."""
    return [
        each
        for each in outcomes
        if each.in_review and not each.customer_number.endswith(_MAY_STAY_OPEN)
    ]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the witnesses say about one run."""

    sent: Sent
    outcomes: Sequence[Outcome]
    bought: Counter[str]
    """Real deliveries by dealer reference, reversed ones included."""
    kept: Counter[str]
    """Real deliveries by dealer reference that were not reversed."""
    verified: Counter[str]
    """Verified webhooks by order id."""
    discrepancies: Sequence[Discrepancy]
    difference_rupiah: int
    """By how much wallets and entries disagree."""

    @property
    def double(self) -> list[Outcome]:
        """Orders whose customer got it more than once from purchases that Jalur stands by."""
        return [each for each in self.outcomes if _deliveries(each, self.kept) > 1]

    @property
    def lost(self) -> list[str]:
        """References that were accepted and are neither final nor in review."""
        known = {each.ref_id: each for each in self.outcomes}
        return [ref for ref in self.sent.accepted if not _is_accounted_for(known.get(ref))]

    @property
    def verified_events(self) -> int:
        """How many of the events due were received and verified."""
        return sum(min(each.events, self.verified[str(each.order_id)]) for each in self.outcomes)

    @property
    def wrong_rupiah(self) -> int:
        """By how much all charges together are off."""
        return sum(abs(each.charged - _due(each)) for each in self.outcomes)


async def gather(
    connection: Connection,
    client: httpx.AsyncClient,
    stage: Stage,
    sent: Sent,
    outcomes: Sequence[Outcome],
) -> Evidence:
    """Ask every witness about one run."""
    book: list[dict[str, str | None]] = (await client.get(f"{stage.simulator_url}/book")).json()
    received = (await client.get(f"{stage.receiver_url}/received")).json()["verified"]
    return Evidence(
        sent,
        outcomes,
        Counter(str(row["dealer_ref"]) for row in book),
        Counter(str(row["dealer_ref"]) for row in book if row["reversed_at"] is None),
        Counter(str(item["data"].get("id")) for item in received),
        await statements.verify(connection),
        await statements.difference(connection),
    )


def counts(evidence: Evidence, seconds: float) -> dict[str, int | float]:
    """One run in figures. Rates are of acceptance, times from acceptance to the final status."""
    sent, outcomes = evidence.sent, evidence.outcomes
    lived = sorted(each.seconds for each in outcomes if each.seconds is not None)
    span = max(sent.finished - sent.started, 1e-9)
    return {
        "orders": len(sent.accepted),
        "succeeded": sum(each.status == "succeeded" for each in outcomes),
        "failed": sum(each.status in ("failed", "reversed") for each in outcomes),
        "needs_review": sum(each.in_review for each in outcomes),
        "bought": sum(evidence.bought[ref] for each in outcomes for ref in each.dealer_refs),
        "charged": sum(each.charged > 0 for each in outcomes),
        "disputes": sum(len(each.disputed_refs) for each in outcomes),
        "double_bought": len(evidence.double),
        "lost": len(evidence.lost),
        "webhooks_due": sum(each.events for each in outcomes),
        "webhooks_verified": evidence.verified_events,
        "ledger_difference": evidence.wrong_rupiah + evidence.difference_rupiah,
        "seconds": round(seconds, 2),
        "orders_per_second": round(len(sent.accepted) / span, 1),
        "p50_ms": _percentile(lived, 0.50),
        "p99_ms": _percentile(lived, 0.99),
    }


def faults(evidence: Evidence) -> list[str]:
    """What is wrong with one run, a sentence each; none when every promise was kept."""
    outcomes = evidence.outcomes
    due = sum(each.events for each in outcomes)
    found = [
        *(f"refused: {reference}: {code}" for reference, code in evidence.sent.refused.items()),
        *(f"lost: {reference}" for reference in evidence.lost),
        *(f"bought twice: {each.ref_id}" for each in evidence.double),
        *(
            f"delivered and charged differ: {each.ref_id} ({each.status})"
            for each in outcomes
            if _differs(each, evidence.kept)
        ),
        *(f"in review: {each.ref_id}, number {each.customer_number}" for each in stuck(outcomes)),
        *(f"ledger: {each.check}: {each.count} rows" for each in evidence.discrepancies),
    ]
    if evidence.verified_events < due:
        found.append(f"{due - evidence.verified_events} webhooks are missing")
    if evidence.wrong_rupiah:
        found.append(f"charges are off by {evidence.wrong_rupiah} rupiah")
    return found


def _deliveries(outcome: Outcome, kept: Counter[str]) -> int:
    """How often the customer got it from purchases that Jalur stands by."""
    disputed = set(outcome.disputed_refs)
    return sum(kept[ref] for ref in outcome.dealer_refs if ref not in disputed)


def _is_accounted_for(outcome: Outcome | None) -> bool:
    return outcome is not None and (outcome.status in _FINAL or outcome.in_review)


def _differs(outcome: Outcome, kept: Counter[str]) -> bool:
    """Whether what the customer got and what the reseller paid do not agree."""
    if outcome.status not in _FINAL:
        return False
    got = any(kept[ref] for ref in outcome.dealer_refs)
    return got != (outcome.status == "succeeded")


def _due(outcome: Outcome) -> int:
    """What the reseller should have paid in the end, in rupiah."""
    return outcome.price if outcome.status == "succeeded" else 0


def _percentile(ascending: Sequence[float], part: float) -> float:
    """A percentile in milliseconds, of seconds in ascending order; 0 of none."""
    if not ascending:
        return 0.0
    return round(ascending[math.ceil(part * len(ascending)) - 1] * 1000, 1)
