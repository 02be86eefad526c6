"""The routing table as operators change it: what a sheet does, what waits, what was in force."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from schemas.admin.shapes import Given, Line, Reason, Rupiah


class Rise(BaseModel):
    """A cost that rises by more than `largest_rise_percent`, in rupiah."""

    route_id: str
    before: int
    after: int


class TierEffect(BaseModel):
    """What a sheet does to a tier's margins, by each product's cheapest offer of the day."""

    tier: str
    margin_rises: int
    margin_falls: int
    summed_effect: int
    """What the best margins change by in all, one order of each product, in rupiah."""
    at_loss: int
    """Products whose cheapest offer would cost more than the tier pays."""


class Loss(BaseModel):
    """A product that would be sold at a loss, in rupiah."""

    tier: str
    sku: str
    price: int
    cost: int


class Effect(BaseModel):
    """What a sheet does to margins. Lists hold the first or the worst few."""

    tiers: list[TierEffect]
    losses: list[Loss]
    without_offer: int
    """Products that would lose their last offer."""
    first_without_offer: list[str]


class TablePlan(BaseModel):
    """What a sheet changes. Lists and `examples` (by `added`, `changed`, `removed`) hold the first
    few."""

    revision: int
    added: int
    changed: int
    removed: int
    unchanged: int
    not_sold: int
    """Of products that are switched off: kept, and not offered."""
    large_rises: int
    largest_rise_percent: float
    rises: list[Rise]
    effect: Effect
    examples: dict[str, list[dict[str, Any]]]


class AppliedTable(TablePlan):
    """What applying a sheet did; `revision` is in force now. A `version` is kept of a change."""

    version: int | None
    checksum_before: str
    checksum_after: str


class TablePutOff(TablePlan):
    """A sheet that waits for its moment, and what it would change now."""

    id: str
    at: datetime
    state: str


class RolledBack(AppliedTable):
    """What going back did."""

    to: int


class PulledPrices(TablePlan):
    """A dealer's own price list against our routes there; with `version` where it was applied."""

    dealer: str
    listed: int
    unknown_count: int
    missing_count: int
    unclear_count: int
    unknown: list[str]
    """The dealer's names of products that we have no route for."""
    missing: list[str]
    """Names in our routes that the list has not."""
    unclear: list[str]
    """Listed twice, or without a price above 0: such routes stay as they are."""
    version: int | None = None


class DealerShare(BaseModel):
    """What was bought from a dealer: orders, rupiah, and its part of the rupiah."""

    dealer: str
    owner_group: str
    orders: int
    value: int
    share_basis_points: int


class GroupShare(BaseModel):
    """What was bought from an owner group in a market."""

    owner_group: str
    orders: int
    value: int
    share_basis_points: int


class Bought(BaseModel):
    """What was bought, in rupiah. `hhi` is that of all markets, each by its part of the rupiah."""

    orders: int
    cost: int
    price: int
    margin: int
    hhi: int
    markets_above_alarm: int
    """Markets whose HHI is above 2,500."""
    dealers: list[DealerShare]


class WithoutRoute(BaseModel):
    """Orders that a table finds no dealer for."""

    orders: int
    refusals: dict[str, int]
    reasons: dict[str, int]
    """Orders by why their candidates could not serve; one order may count under several."""
    without_offer: int
    """Of products that the table does not offer there at all."""
    skus: dict[str, int]
    """The products with the most of them."""


class Replayed(Bought):
    """What a table makes of the orders."""

    table: str
    forced_monopolies: int
    monopoly_cost: int
    """What avoiding monopolies costs."""
    moved: int
    """Orders that go to another dealer than in truth."""
    cost_difference: int
    """To what the orders that it serves cost in truth."""
    margin_difference: int
    """To the margin that all these orders brought in truth."""
    without_route: WithoutRoute


class MarketShares(BaseModel):
    """One market's purchases."""

    orders: int
    value: int
    hhi: int
    groups: list[GroupShare]


class SimulatedMarket(BaseModel):
    """One market in each column."""

    brand: str
    cluster: str | None
    happened: MarketShares
    in_force: MarketShares
    draft: MarketShares | None = None


class ReplayedOrders(BaseModel):
    """How many orders were placed in the window. Only those that were bought are replayed."""

    replayed: int
    failed: int
    reversed: int
    waiting: int


class Changes(BaseModel):
    """How many routes the draft changes."""

    added: int
    changed: int
    removed: int
    unchanged: int


class Simulation(BaseModel):
    """Past orders: what happened, and what the table in force and a draft make of them."""

    revision: int
    since: datetime
    until: datetime
    changes: Changes | None
    orders: ReplayedOrders
    seconds: float
    orders_per_second: int
    choices_per_second: int
    happened: Bought
    in_force: Replayed
    draft: Replayed | None
    market_count: int
    markets: list[SimulatedMarket]
    """Those with the most rupiah in truth, at most twenty."""


class ScheduledTable(BaseModel):
    """A sheet that waits, or what became of it: `applied`, `refused`, `cancelled`."""

    id: str
    at: datetime
    state: str
    operator: str
    scheduled_at: datetime
    dealer: str | None
    reason: str
    finished_at: datetime | None
    outcome: dict[str, Any] | None


class ScheduledTables(BaseModel):
    """The sheets that wait, the next first, then the newest that are over."""

    scheduled: list[ScheduledTable]


class CancelledTable(BaseModel):
    """A sheet that waits no more."""

    id: str
    state: str


class TableVersion(BaseModel):
    """A table that was in force. `act` is how it came to be."""

    version: int
    revision: int
    kept_at: datetime
    act: str
    operator: str
    reason: str
    checksum: str
    routes: int
    added: int
    changed: int
    removed: int


class TableVersions(BaseModel):
    """The tables that are kept, the newest first."""

    versions: list[TableVersion]


class RowChanges(BaseModel):
    """How many rows came, went, or are otherwise than before."""

    added: int
    changed: int
    removed: int


class TableInForce(BaseModel):
    """What a process routes by. `route_changes` and `product_changes` are against the products,
    prices and routes that were in force before."""

    version: str
    revision: int
    goods_revision: int
    """The revision that last changed products, prices or routes."""
    compiling: bool
    """Newer ones are being compiled and not in force yet."""
    dealers: int
    left_out: list[str]
    routes: int
    route_changes: RowChanges
    products: int
    product_changes: RowChanges
    refused: dict[str, int]
    """Routes that were left out, by why."""
    first_refused: dict[str, str]


class Rollback(Given):
    """Go back to a version, else to the one before the newest."""

    to: int | None = Field(default=None, ge=1, lt=2**63)
    yes: bool = False
    """Let costs rise by more than `largest_rise_percent`."""
    reason: Reason = ""


class PricesPull(Given):
    """What to do with the list. Without `apply` nothing is changed."""

    apply: bool = False
    yes: bool = False
    reason: Reason = ""


# ------------------------------------------------------------------ the policy


class NewPolicy(Given):
    """The whole policy; a setting that it does not state goes back to its default."""

    policy: dict[str, Any]
    reason: Reason = ""


class PolicySetting(BaseModel):
    """One rule as it is in force."""

    name: str
    value: Any
    default: Any
    unit: str


class ShownPolicy(BaseModel):
    """The policy in force; `stated` is what is not left to its default."""

    revision: int
    stated: dict[str, Any]
    settings: list[PolicySetting]


class PolicyChange(BaseModel):
    """A setting's value before and after."""

    before: Any
    after: Any


class ChangedPolicy(ShownPolicy):
    """The policy in force now, and what was changed."""

    changes: dict[str, PolicyChange]


# ------------------------------------------------------------------ explained


class Question(Given):
    """An order to think of, for which a dealer is to be chosen."""

    sku: Line
    number: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    """The customer's. Without one the brand is the product's."""
    region: Line | None = None
    tier: Line = "standard"
    max_price: Rupiah | None = None
    at: datetime | None = None
    """When it would be chosen, in WIB where it states no offset; else now."""


class Market(BaseModel):
    """A market's window: its orders, and their purchase value in rupiah."""

    orders: int
    value: int


class Candidate(BaseModel):
    """What became of one dealer's offer. `rank` is null where the filter excluded it, `reason` null
    for the chosen one alone."""

    dealer: str
    owner_group: str
    route: str
    dealer_sku: str
    cost: int
    rank: int | None
    reason: str | None
    share_before_basis_points: int
    """Its owner group's share of the market before this order."""
    share_after_basis_points: int
    """The same, were this one chosen."""
    success_basis_points: int | None
    """Null where the sample is too small to tell, as is `level`."""
    sample: int
    level: str | None
    """`ok`, `warning` or `critical`."""


class Explained(BaseModel):
    """A choice and its proof. Amounts in rupiah."""

    verdict: str
    """All of it in one sentence."""
    sku: str
    brand: str
    cluster: str | None
    tier: str
    price: int
    max_price: int | None
    at: datetime
    """Hours, validity, mutes and quotas are those of this moment …"""
    shares_at: datetime
    """… and shares, quality and breakers those of this one."""
    revision: int
    table: str
    dealer: str | None
    refusal: str | None
    forced_monopoly: bool
    cheapest_cost: int | None
    monopoly_cost: int | None
    market: Market
    candidates: list[Candidate]
    """The ranked in their order, then the excluded."""
    left_out: list[str]
    """What had to be left out of the table, a sentence each."""


class Attempt(BaseModel):
    """One attempt of an order, and the decision that it was chosen by, as it was kept."""

    attempt_no: int
    dealer: str
    state: str
    decision: dict[str, Any]


class ExplainedOrder(BaseModel):
    """What an order keeps of how its dealers were chosen."""

    order_id: str
    attempts: list[Attempt]
