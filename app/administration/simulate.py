"""Simulating a routing table: past orders, asked of a draft and of the table in force.

Nothing is changed: the draft is read as for a diff, compiled, and asked by the code that routes
orders (`routing/simulate.py`). The fair comparison of a draft is with the table in force asked the
same way, because neither knows how dealers failed; beside both stands what happened. Orders are
read by the page, so a month of them needs no more memory than a minute.
"""

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from app.administration.operator import Operator, Scope
from app.administration.plans import Progress, Sheet, Wanted, drafting, plan, unwatched
from app.administration.routes import keeps_changing
from app.errors import FieldError, Unprocessable
from app.lifecycle.trade import compile_snapshot
from app.storage import drafts, purchase_hours, reference, replay
from app.storage.drafts import Counts
from app.storage.pool import Connection, Pool, one_view
from app.storage.purchase_hours import HOUR, moment_of
from app.storage.reference import ProductRow, RouteRow, Terms
from app.storage.replay import ReplayRow
from app.words import OrderStatus
from routing.choose import Inquiry
from routing.monopoly import (
    HHI_ALARM,
    NO_PURCHASES,
    Market,
    MarketTotals,
    ShareRow,
    herfindahl_hirschman_index,
)
from routing.simulate import PastOrder, Purchases, Refused, Replay
from routing.snapshot import Snapshot
from routing.table import WIB, BadTable

DEFAULT_SINCE = "24h"
LONGEST = timedelta(days=31)
_NO_ORDERS_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
_TRIES = 5
_WAITING = "waiting"
_OVER_WITHOUT_PURCHASE = frozenset({OrderStatus.FAILED, OrderStatus.REVERSED})
_MOST_MARKETS = 20
_MOST_SKUS = 20
_AGO = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class Window:
    """Which orders are replayed: those placed from `since` up to `until`, which is excluded."""

    since: datetime
    until: datetime


@dataclass(slots=True)
class Simulation:
    """What came out. `draft` and `changes` are None where the table in force was asked alone."""

    revision: int
    window: Window
    changes: Counts | None
    happened: Purchases
    in_force: Replay
    draft: Replay | None
    kinds: Mapping[str, str]
    """Product kinds by SKU."""
    left_out: Counter[str] = field(default_factory=Counter[str])
    """Orders that are not replayed: by their status, and `waiting` for a purchase."""
    seconds: float = 0.0
    """What all of it took, reading included."""
    asking_seconds: float = 0.0

    @property
    def replays(self) -> tuple[Replay, ...]:
        """The tables that are asked."""
        return (self.in_force,) if self.draft is None else (self.in_force, self.draft)

    def document(self) -> dict[str, Any]:
        """For JSON. Markets by what was bought there, the largest first, and only so many."""
        columns = {"happened": self.happened, "in_force": self.in_force.purchases}
        if self.draft is not None:
            columns["draft"] = self.draft.purchases
        orders = self.happened.orders
        return {
            "revision": self.revision,
            "since": self.window.since.isoformat(),
            "until": self.window.until.isoformat(),
            "changes": self.changes and asdict(self.changes),
            "orders": {
                "replayed": orders,
                "failed": self.left_out[OrderStatus.FAILED],
                "reversed": self.left_out[OrderStatus.REVERSED],
                "waiting": self.left_out[_WAITING],
            },
            "seconds": round(self.seconds, 3),
            "orders_per_second": _rate(orders, self.seconds),
            "choices_per_second": _rate(orders * len(self.replays), self.asking_seconds),
            "happened": _bought(self.happened),
            "in_force": _replayed(self.in_force, self.happened),
            "draft": self.draft and _replayed(self.draft, self.happened),
            **_markets(columns),
        }


def window_of(since: str, until: str | None, now: datetime) -> Window:
    """The window between two moments, each as `90m`, `24h`, `7d` ago or as a date and time, which
    without an offset is in WIB. Raises Unprocessable."""
    window = Window(
        _moment("since", since, now), now if until is None else _moment("until", until, now)
    )
    if window.until > now:
        raise _wrong("until", "It must not lie ahead.")
    if window.since >= window.until:
        raise _wrong("since", "It must lie before the end.")
    if window.since < _NO_ORDERS_BEFORE:
        raise _wrong("since", "There were no orders then.")
    if window.until - window.since > LONGEST:
        raise _wrong("since", f"At most {LONGEST.days} days are replayed at once.")
    return window


async def simulate(
    pool: Pool,
    by: Operator,
    sheet: Sheet | None,
    wanted: Wanted,
    window: Window,
    now: datetime,
    tell: Progress = unwatched,
) -> Simulation:
    """Replay the window's orders on the table in force and on the draft, where there is one.

    Raises as `plans.plan` does for the sheet, and Conflict (`table-changed`).
    """
    by.require(Scope.READ)
    started = time.perf_counter()
    tables = await _compile(pool, sheet, wanted, now, tell)
    async with pool.acquire() as connection:
        simulation = await _prepare(connection, tables, window, now)
        await _replay(connection, simulation, tell)
    simulation.seconds = time.perf_counter() - started
    return simulation


def _moment(name: str, text: str, now: datetime) -> datetime:
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now - min(int(ago[1]) * _UNITS[ago[2]], 2 * LONGEST)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _wrong(name, "It must be like 90m, 24h, 7d or 2026-12-01T00:00.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=WIB)


def _wrong(name: str, sentence: str) -> Unprocessable:
    return Unprocessable(
        "invalid-request", f"{name}: {sentence}", errors=[FieldError(name, sentence)]
    )


# ------------------------------------------------------------------ the tables


@dataclass(frozen=True, slots=True)
class _Tables:
    revision: int
    in_force: Snapshot
    draft: Snapshot | None
    changes: Counts | None
    kinds: dict[str, str]


async def _compile(
    pool: Pool, sheet: Sheet | None, wanted: Wanted, now: datetime, tell: Progress
) -> _Tables:
    for _ in range(_TRIES):
        async with drafting(pool) as connection:
            tables = await _compile_at_one_revision(connection, sheet, wanted, now, tell)
            if tables is not None:
                return tables
    raise keeps_changing()


async def _compile_at_one_revision(
    connection: Connection, sheet: Sheet | None, wanted: Wanted, now: datetime, tell: Progress
) -> _Tables | None:
    """None where somebody published meanwhile."""
    before = await reference.revision(connection)
    planned = None if sheet is None else await plan(connection, sheet, wanted, now, tell)
    if sheet is not None and (planned is None or planned.revision != before):
        return None
    tell("compile", 0, None)
    terms = await reference.terms(connection)
    # Past orders show that their products were on sale, whether they are now or not.
    products = await reference.products(connection)
    in_force = _snapshot(terms, products, await reference.routes(connection))
    draft = None
    if planned is not None:
        draft = _snapshot(terms, products, await drafts.drafted(connection))
    if not before == terms.revision == await reference.revision(connection):
        return None
    kinds = {row.sku: row.kind for row in products}
    return _Tables(before, in_force, draft, planned and planned.counts, kinds)


def _snapshot(terms: Terms, products: Sequence[ProductRow], routes: Sequence[RouteRow]) -> Snapshot:
    try:
        return compile_snapshot(terms.dealers, products, routes, terms.policy)
    except BadTable as error:
        raise Unprocessable("invalid-table", f"The table does not compile: {error}.") from None


# ------------------------------------------------------------------ the orders


async def _prepare(
    connection: Connection, tables: _Tables, window: Window, now: datetime
) -> Simulation:
    """Give each table the market as it was when the first order came."""
    days = timedelta(days=tables.in_force.policy.window_days)
    begins = _hour_of(window.since)
    wanted = purchase_hours.hours(begins - days, begins - HOUR)
    async with one_view(connection):
        bought = await purchase_hours.bought(connection, wanted)
    groups = {each.dealer_id: each.owner_group for each in tables.in_force.dealers.values()}
    before = [
        ShareRow(
            Market(row.brand, row.cluster),
            groups.get(row.dealer_id, row.dealer_id),
            row.cost,
            row.orders,
            row.hour,
        )
        for row in bought
    ]
    return Simulation(
        tables.revision,
        window,
        tables.changes,
        Purchases(groups),
        Replay(tables.in_force, before, now),
        None if tables.draft is None else Replay(tables.draft, before, now),
        tables.kinds,
    )


async def _replay(connection: Connection, simulation: Simulation, tell: Progress) -> None:
    # What was bought in the running hour before the window stands in no full hour.
    since, until = simulation.window.since, simulation.window.until
    async for page in replay.pages(connection, _hour_of(since), since):
        for order in _bought_orders(page, simulation, Counter()):
            for each in simulation.replays:
                each.lead_in(order)
    done = 0
    async for page in replay.pages(connection, since, until):
        began = time.perf_counter()
        _ask(_bought_orders(page, simulation, simulation.left_out), simulation)
        simulation.asking_seconds += time.perf_counter() - began
        done += len(page)
        reached = (moment_of(page[-1].order_id) - since) / (until - since)
        tell("replay", done, max(done, round(done / reached)) if reached > 0 else None)


def _ask(orders: Iterable[PastOrder], simulation: Simulation) -> None:
    happened, replays = simulation.happened, simulation.replays
    for order in orders:
        happened.count(order.market, order.dealer_id, order.cost_rupiah, order.inquiry.price_rupiah)
        for each in replays:
            each.ask(order)


def _bought_orders(
    page: Sequence[ReplayRow], simulation: Simulation, left_out: Counter[str]
) -> Iterable[PastOrder]:
    """The orders that were bought, or are being; the others are counted.

    An order that failed everywhere would succeed in a replay, where all that is chosen delivers.
    """
    for row in page:
        if row.status in _OVER_WITHOUT_PURCHASE:
            left_out[row.status] += 1
        elif row.dealer_id is None or row.cost is None:
            left_out[_WAITING] += 1
        else:
            yield PastOrder(
                Inquiry(
                    row.sku,
                    row.brand,
                    row.cluster,
                    row.price,
                    row.max_price,
                    tier=row.tier,
                    kind=simulation.kinds.get(row.sku, ""),
                    order_id=row.order_id,
                ),
                moment_of(row.order_id),
                Market(row.brand, row.cluster),
                row.dealer_id,
                row.cost,
            )


def _hour_of(moment: datetime) -> datetime:
    return purchase_hours.hours(moment, moment)[0].hour


# ------------------------------------------------------------------ telling


def _bought(purchases: Purchases) -> dict[str, Any]:
    markets = purchases.markets().values()
    total = purchases.dealers()
    weighted = sum(herfindahl_hirschman_index(market) * market.value_rupiah for market in markets)
    return {
        "orders": purchases.orders,
        "cost": purchases.cost_rupiah,
        "price": purchases.price_rupiah,
        "margin": purchases.price_rupiah - purchases.cost_rupiah,
        "hhi": weighted // total.value_rupiah if total.value_rupiah else 0,
        "markets_above_alarm": sum(
            herfindahl_hirschman_index(market) > HHI_ALARM for market in markets
        ),
        "dealers": [
            {**each, "owner_group": purchases.group_of(each["dealer"])}
            for each in _shares(total, "dealer")
        ],
    }


def _replayed(replayed: Replay, happened: Purchases) -> dict[str, Any]:
    """`cost_difference` is over the orders that the table serves, `margin_difference` over all."""
    bought = replayed.purchases
    margin = bought.price_rupiah - bought.cost_rupiah
    return {
        "table": replayed.snapshot.version,
        **_bought(bought),
        "forced_monopolies": replayed.forced,
        "monopoly_cost": replayed.monopoly_cost_rupiah,
        "moved": replayed.moved,
        "cost_difference": bought.cost_rupiah - replayed.true_cost_rupiah,
        "margin_difference": margin - (happened.price_rupiah - happened.cost_rupiah),
        "without_route": _without_route(replayed.refused),
    }


def _without_route(refused: Refused) -> dict[str, Any]:
    return {
        "orders": refused.orders,
        "refusals": dict(refused.refusals),
        "reasons": dict(refused.reasons.most_common()),
        "without_offer": refused.without_offer,
        "skus": dict(refused.skus.most_common(_MOST_SKUS)),
    }


def _markets(columns: Mapping[str, Purchases]) -> dict[str, Any]:
    by_column = {name: bought.markets() for name, bought in columns.items()}
    largest = sorted(
        by_column["happened"].items(), key=lambda each: (-each[1].value_rupiah, _named(each[0]))
    )
    return {
        "market_count": len(largest),
        "markets": [
            {
                "brand": market.brand,
                "cluster": market.cluster,
                **{name: _market(found.get(market)) for name, found in by_column.items()},
            }
            for market, _ in largest[:_MOST_MARKETS]
        ],
    }


def _named(market: Market) -> tuple[str, str]:
    return market.brand, market.cluster or ""


def _market(totals: MarketTotals | None) -> dict[str, Any]:
    found = totals or NO_PURCHASES
    return {
        "orders": found.orders,
        "value": found.value_rupiah,
        "hhi": herfindahl_hirschman_index(found),
        "groups": _shares(found, "owner_group"),
    }


def _shares(totals: MarketTotals, named: str) -> list[dict[str, Any]]:
    """The largest first."""
    largest = sorted(totals.groups.items(), key=lambda each: (-each[1].value_rupiah, each[0]))
    return [
        {
            named: name,
            "orders": held.orders,
            "value": held.value_rupiah,
            "share_basis_points": totals.share_basis_points(name),
        }
        for name, held in largest
    ]


def _rate(count: int, seconds: float) -> int:
    return round(count / seconds) if seconds > 0 else 0
