"""Clusters that dealers refused: what the service learned, and forgetting it.

The service forgets by itself; an operator does where a dealer says that it serves a cluster now.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from app.administration.acting import acting
from app.administration.checks import Checks
from app.administration.operator import Operator, Scope
from app.errors import NotFound
from app.lifecycle.trade import read_policy
from app.storage import cluster_refusals, reference
from app.storage.pool import Connection, Pool
from routing.refusals import Area, Refusal, RefusalRules, refused_until


@dataclass(frozen=True, slots=True)
class RefusedArea:
    """A dealer and a market where it refused numbers within the policy's window."""

    dealer_id: str
    brand: str
    cluster: str
    numbers: int
    """How many different ones."""
    refused_at: datetime
    """The newest refusal."""
    left_out_until: datetime | None
    """Until when it is not asked there; None while it still is."""

    def document(self) -> dict[str, object]:
        """Ready for JSON."""
        until = self.left_out_until
        return {
            "dealer": self.dealer_id,
            "brand": self.brand,
            "cluster": self.cluster,
            "numbers": self.numbers,
            "refused_at": self.refused_at.isoformat(),
            "left_out_until": None if until is None else until.isoformat(),
        }


async def listed(connection: Connection, dealer_id: str | None, now: datetime) -> list[RefusedArea]:
    """What is known of a dealer, or of all, by dealer, brand and cluster. Raises NotFound."""
    if dealer_id is not None:
        await _require_dealer(connection, dealer_id)
    _, text = await reference.policy(connection)
    rules = read_policy(text).refusal_rules
    known = await cluster_refusals.since(connection, now - rules.window)
    wanted = [each for each in known if dealer_id in (None, each.area.dealer_id)]
    return _areas(wanted, rules, now)


async def forget(
    pool: Pool,
    by: Operator,
    dealer_id: str,
    brand: str | None = None,
    cluster: str | None = None,
    reason: str = "",
) -> list[Area]:
    """Forget what a dealer refused, everywhere or of one brand or cluster: it is asked again.

    Returns where something was forgotten. Raises NotFound.
    """
    by.require(Scope.DEALERS)
    checks = Checks()
    checks.reason(reason)
    checks.done()
    async with acting(pool) as connection:
        await _require_dealer(connection, dealer_id)
        areas = await cluster_refusals.forget(connection, dealer_id, brand, cluster)
        if areas:
            told = [f"{area.brand} {area.cluster}" for area in areas]
            await by.record(
                connection,
                "dealer.clusters_forgotten",
                f"dealer:{dealer_id}",
                before={"clusters": told},
                after={},
                reason=reason,
            )
    return areas


async def _require_dealer(connection: Connection, dealer_id: str) -> None:
    if all(row.dealer_id != dealer_id for row in await reference.dealers(connection)):
        raise NotFound(
            "not-found", f"There is no dealer {dealer_id}; `jalur dealers list` has all."
        )


def _areas(known: Iterable[Refusal], rules: RefusalRules, now: datetime) -> list[RefusedArea]:
    by_area: dict[Area, list[datetime]] = {}
    for area, _number, at in known:
        by_area.setdefault(area, []).append(at)
    return [
        _refused_area(area, refused_at, refused_until(refused_at, rules), now)
        for area, refused_at in sorted(by_area.items())
    ]


def _refused_area(
    area: Area, refused_at: list[datetime], until: datetime | None, now: datetime
) -> RefusedArea:
    left_out_until = until if until is not None and now < until else None
    return RefusedArea(*area, len(refused_at), max(refused_at), left_out_until)
