"""The trade: what orders are taken and bought on, made from one look at the reference tables.

The goods come compiled (`goods.py`); the dealers with our accounts there, the numbers, the regions
and the policy are few and put around them at once, whenever one of them changes.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network

from app.errors import ConfigurationError
from app.lifecycle.goods import Goods, product_of, route_from
from app.schedules import read_schedule
from app.sealing import Sealer
from app.storage.reference import DealerRow, ProductRow, RouteRow, Terms
from dealers.contract import Account, Capabilities, CheckSchedule
from dealers.registry import Dialect
from routing.clusters import Clusters, Outlet
from routing.numbering import BrandTable, ClusterTable
from routing.price_book import PriceBook
from routing.sandbox import SandboxImage
from routing.snapshot import Snapshot, compile_table, snapshot_of
from routing.table import BadTable, Dealer, Policy, QualityRules, Strategy

DEFAULT_LARGEST_RISE_PERCENT = 20
_RUPIAH = re.compile(r"-?[0-9]{1,15}")
_LARGEST_RISE = "largest_rise_percent"
_SCHEDULE = "check_schedule"
_OVERRIDES = {
    "check_interval_seconds": "min_check_interval_seconds",
    "absent_after_seconds": "absent_after_seconds",
}
_YES_OR_NO = {"failures_count": "failures_count", "traceparent": "takes_traceparent"}
_ANSWERS = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class FloatTerms:
    """What a dealer's options say of our account there. Rupiah."""

    reserve: int = 0
    """What is to stay there; less than 0 where the dealer lends us that much."""
    tolerance: int = 0
    """By how much its word may differ from our own account."""
    interval_seconds: float | None = None
    """How often the balance is pulled; None: as everywhere."""


DEFAULT_FLOAT_TERMS = FloatTerms()


@dataclass(frozen=True, slots=True)
class DealerAccess:
    """All that calling a dealer needs: its row, our account there, its protocol."""

    row: DealerRow
    account: Account
    dialect: Dialect
    capabilities: Capabilities
    """The protocol's own, with what this dealer's options state otherwise."""
    callback_from: tuple[IPv4Network | IPv6Network, ...] = ()
    """The networks that its callbacks may come from; none: any."""
    float_terms: FloatTerms = DEFAULT_FLOAT_TERMS
    only_at: str | None = None
    """The address that all its requests must begin with; None: any."""

    @property
    def test(self) -> bool:
        """Whether it is a simulator, for orders of the test side only."""
        return self.row.test

    @property
    def requests_per_second(self) -> float | None:
        """The dealer's limit over all requests: its own setting, else what its protocol knows."""
        return self.row.requests_per_second or self.capabilities.requests_per_second


@dataclass(frozen=True, slots=True)
class Trade:
    """Everything in force. `revision` is that of the terms; the goods have their own."""

    revision: int
    goods: Goods
    snapshot: Snapshot
    sandbox: Snapshot
    """What orders of the test side are bought on: test dealers, of whom `snapshot` has none."""
    brands: BrandTable
    clusters: Clusters
    dealers: Mapping[str, DealerAccess]
    left_out: frozenset[str]
    """Dealers that cannot be called as they are configured; their orders go elsewhere."""
    faults: tuple[str, ...]
    """Dealers and routes that were left out: a sentence each, one for those beyond the first."""

    @property
    def price_book(self) -> PriceBook:
        """What resellers can order and what each tier pays."""
        return self.goods.price_book


@dataclass(frozen=True, slots=True)
class DealerLimits:
    """What a dealer must fit to be called at all."""

    dialects: Mapping[str, Dialect]
    sealer: Sealer
    longest_call_seconds: float
    simulator_url: str | None = None
    """Where test dealers must be; None: there can be none."""


def make_trade(
    terms: Terms,
    goods: Goods,
    limits: DealerLimits,
    outlets: Mapping[Outlet, str],
    blocked: Mapping[Outlet, str],
) -> Trade:
    """Put terms around goods; `outlets` have their regions, `blocked` ones their reasons.

    Raises BadTable for terms that contradict each other or the goods.

    A dealer that cannot be called is left out with its faults; the others stay.
    """
    faults: list[str] = []
    access = _accesses(terms.dealers, limits, faults)
    left_out = frozenset(row.dealer_id for row in terms.dealers if row.dealer_id not in access)
    try:
        dealers = [
            _dealer(row, usable=row.dealer_id in access) for row in terms.dealers if not row.test
        ]
        snapshot = snapshot_of(goods.image, dealers, read_policy(terms.policy))
        sandbox = _sandbox(terms.dealers, access, goods.price_book)
        brands = BrandTable(terms.prefixes)
        clusters = Clusters(dict(terms.regions), outlets, ClusterTable(terms.numbering), blocked)
    except BadTable:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise BadTable(f"{type(error).__name__}: {error}") from error
    return Trade(
        terms.revision,
        goods,
        snapshot,
        sandbox,
        brands,
        clusters,
        access,
        left_out,
        (*faults, *goods.report.faults()),
    )


def compile_snapshot(
    dealers: Iterable[DealerRow],
    products: Iterable[ProductRow],
    routes: Iterable[RouteRow],
    policy: str,
) -> Snapshot:
    """Compile a routing table that is not in force, its dealers taken to be usable.

    Raises BadTable.
    """
    try:
        return compile_table(
            [_dealer(row, usable=True) for row in dealers if not row.test],
            map(product_of, products),
            map(route_from, routes),
            read_policy(policy),
        )
    except BadTable:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise BadTable(f"{type(error).__name__}: {error}") from error


def _accesses(
    rows: Iterable[DealerRow], limits: DealerLimits, faults: list[str]
) -> dict[str, DealerAccess]:
    access: dict[str, DealerAccess] = {}
    for row in rows:
        try:
            access[row.dealer_id] = access_to(row, limits)
        except Exception as error:  # noqa: BLE001 - one dealer's settings leave out that dealer only
            faults.append(f"dealer {row.dealer_id}: {error}")
    return access


def access_to(row: DealerRow, limits: DealerLimits) -> DealerAccess:
    """All that calling a dealer needs. Raises ConfigurationError naming every fault."""
    dialect = limits.dialects.get(row.protocol)
    if dialect is None:
        raise ConfigurationError(f"no protocol is called {row.protocol}")
    account = _account(row, limits.sealer)
    faults = dialect.validate(account)
    seconds = row.timeout_seconds + row.connect_timeout_seconds
    if seconds > limits.longest_call_seconds:
        faults.append(
            f"its time-outs add up to {seconds:g} s; at most "
            f"{limits.longest_call_seconds:g} s, half of "
            "the lease, keep two processes from buying the same order"
        )
    if faults:
        raise ConfigurationError("; ".join(faults))
    networks = tuple(ip_network(each) for each in row.callback_from)
    capabilities, terms = _capabilities(dialect, account), _float_terms(account.options)
    only_at = _simulator_of(row, limits) if row.test else None
    return DealerAccess(row, account, dialect, capabilities, networks, terms, only_at)


def _simulator_of(row: DealerRow, limits: DealerLimits) -> str:
    """The address that a test dealer's requests must begin with. Raises ConfigurationError."""
    if limits.simulator_url is None:
        raise ConfigurationError("a test dealer is a simulator: JALUR_SIMULATOR_URL says where")
    only_at = limits.simulator_url.rstrip("/") + "/"
    if not row.base_url.startswith(only_at):
        raise ConfigurationError(
            f"a test dealer's base URL must begin with {only_at}, which JALUR_SIMULATOR_URL says"
        )
    return only_at


def credentials_context(dealer_id: str) -> bytes:
    """What a dealer's sealed credentials are bound to."""
    return b"dealer-credentials:" + dealer_id.encode()


def open_credentials(row: DealerRow, sealer: Sealer) -> dict[str, str]:
    """Our account at a dealer, by name. Raises CannotOpen."""
    return json.loads(sealer.open(row.credentials_sealed, credentials_context(row.dealer_id)))


def _account(row: DealerRow, sealer: Sealer) -> Account:
    credentials = open_credentials(row, sealer)
    options = {str(name): str(value) for name, value in json.loads(row.options).items()}
    return Account(row.dealer_id, row.base_url, credentials, options)


def _capabilities(dialect: Dialect, account: Account) -> Capabilities:
    stated: dict[str, float | bool | CheckSchedule] = {
        field: _seconds(option, account.options[option])
        for option, field in _OVERRIDES.items()
        if option in account.options
    }
    if _SCHEDULE in account.options:
        stated[_SCHEDULE] = _schedule(account.options[_SCHEDULE])
    for option, field in _YES_OR_NO.items():
        if option in account.options:
            stated[field] = _answer(option, account.options[option])
    declared = dialect.capabilities_of(account)
    return replace(declared, **stated) if stated else declared


def _schedule(text: str) -> CheckSchedule:
    try:
        return read_schedule(text)
    except ValueError as fault:
        raise ConfigurationError(f"option {_SCHEDULE} must hold {fault}") from None


def float_terms(row: DealerRow) -> FloatTerms | None:
    """What a dealer's options say of our account there; None where they are wrong."""
    stated = {str(name): str(value) for name, value in json.loads(row.options).items()}
    try:
        return _float_terms(stated)
    except ConfigurationError:
        return None


def _float_terms(options: Mapping[str, str]) -> FloatTerms:
    interval = options.get("balance_interval_seconds")
    terms = FloatTerms(
        _rupiah("float_reserve", options.get("float_reserve", "0")),
        _rupiah("balance_tolerance", options.get("balance_tolerance", "0")),
        None if interval is None else _seconds("balance_interval_seconds", interval),
    )
    if terms.tolerance < 0:
        raise ConfigurationError("option balance_tolerance must not be less than 0")
    return terms


def _rupiah(option: str, text: str) -> int:
    if _RUPIAH.fullmatch(text) is None:
        raise ConfigurationError(f"option {option} must be whole rupiah in digits, not {text}")
    return int(text)


def _seconds(option: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigurationError(f"option {option} must be a number of seconds, not {text}")
    return seconds


def _answer(option: str, text: str) -> bool:
    if text not in _ANSWERS:
        raise ConfigurationError(f"option {option} must be yes or no, not {text}")
    return _ANSWERS[text]


def _sandbox(
    rows: Iterable[DealerRow], access: Mapping[str, DealerAccess], book: PriceBook
) -> Snapshot:
    """The test side's table. The shop's rules are for what is real; here nothing is at stake."""
    dealers = [_dealer(row, usable=row.dealer_id in access) for row in rows if row.test]
    image = SandboxImage((each.dealer_id for each in dealers), book.skus())
    return snapshot_of(image, dealers, Policy())


def _dealer(row: DealerRow, *, usable: bool) -> Dealer:
    return Dealer(row.dealer_id, row.owner_group, row.enabled, row.drained, row.muted_until, usable)


def largest_rise_percent(policy: str) -> float:
    """By how much a cost may rise in one change without a yes, of the stored policy.

    Raises BadTable.
    """
    percent = json.loads(policy).get(_LARGEST_RISE, DEFAULT_LARGEST_RISE_PERCENT)
    if not isinstance(percent, int | float) or not 0 <= percent < math.inf:
        raise BadTable(f"{_LARGEST_RISE} must be a number from 0 on, not {percent!r}")
    return float(percent)


def read_policy(text: str) -> Policy:
    """The policy as it is stored: JSON with the names of `Policy`. Raises ValueError, TypeError."""
    largest_rise_percent(text)
    stated = json.loads(text)
    # For changing the table, not for choosing from it.
    stated.pop(_LARGEST_RISE, None)
    declared = stated.pop("declared_monopolies", [])
    margins = stated.pop("margins", [])
    strategies = stated.pop("strategies", {})
    return Policy(
        **stated | {"quality": QualityRules(**stated.pop("quality", {}))},
        declared_monopolies=frozenset((brand, area, group) for brand, area, group in declared),
        margins={(tier, kind): rupiah for tier, kind, rupiah in margins},
        strategies={kind: Strategy(name) for kind, name in strategies.items()},
    )
