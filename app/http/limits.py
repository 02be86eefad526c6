"""What a caller may ask: so many requests at its rates, and so many at once.

Two kinds of request are counted apart: `orders`, where a batch counts for as many as it holds, and
`reads`, which is everything else under `/v1`. A reseller's rates hold over all its keys; a key may
have rates of its own beside them, and then both must allow.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from starlette.types import Scope

from app.errors import FieldError, TooManyRequests
from app.http.meter import Meter
from app.metrics import Metrics
from app.rates import Rate
from app.storage.api_keys import KeyHolder

Policy = Literal["orders", "reads"]
Headers = list[tuple[bytes, bytes]]

_REMEMBERED_CALLERS = 20_000
_AT_ONCE_SECONDS = 1


@dataclass(frozen=True, slots=True)
class DefaultRates:
    """The rates of resellers that have none of their own."""

    orders: Sequence[Rate] = (Rate(20_000, 2),)
    reads: Sequence[Rate] = (Rate(20_000, 2),)


@dataclass(frozen=True, slots=True)
class _Item:
    """One rate as the headers name it, and its bucket."""

    name: str
    key: str
    rate: Rate
    head: bytes


class CallerLimits:
    """The rates of one caller. Made by `Visits.limits_of`."""

    __slots__ = ("_items", "_keys", "_meter", "_metrics", "_policies")

    def __init__(
        self, caller: KeyHolder, default: DefaultRates, meter: Meter, metrics: Metrics
    ) -> None:
        self._meter = meter
        self._metrics = metrics
        own = caller.rates
        self._items: dict[Policy, list[_Item]] = {
            "orders": [
                *_items("orders", caller.reseller_id, own.orders or default.orders),
                *_items("orders-key", caller.key_id, own.key_orders),
            ],
            "reads": [
                *_items("reads", caller.reseller_id, own.reads or default.reads),
                *_items("reads-key", caller.key_id, own.key_reads),
            ],
        }
        self._keys = {
            policy: [(item.key, item.rate) for item in items]
            for policy, items in self._items.items()
        }
        self._policies = {
            policy: b", ".join(
                b"%s;q=%d;w=%d" % (item.head, item.rate.quota, item.rate.window_seconds)
                for item in items
            )
            for policy, items in self._items.items()
        }

    async def take(self, policy: Policy, count: int = 1) -> None:
        """Count so many requests, or none: raises TooManyRequests (429) where they do not fit.

        Call it before anything is done for the caller. A batch of n orders is n of `orders`; the
        route's own dependency has counted the first. Waits for Redis only where this process has
        nothing leased for the caller; what was counted is not given back.
        """
        lacking = await self._meter.take(self._keys[policy], count)
        if lacking is not None:
            self._metrics.rate_limited(policy)
            raise self._refusal(policy, lacking[0], count)

    def take_now(self, policy: Policy) -> bool:
        """Count one request if it fits by what is known here; else nothing is counted."""
        return self._meter.take_now(self._keys[policy], 1)

    def headers(self, policy: Policy) -> Headers:
        """`RateLimit-Policy` and `RateLimit`, as they are now."""
        told: list[bytes] = []
        for item in self._items[policy]:
            fill = self._meter.fill(item.key, item.rate)
            told.append(b"%s;r=%d;t=%d" % (item.head, *fill))
        return [(b"ratelimit-policy", self._policies[policy]), (b"ratelimit", b", ".join(told))]

    def _refusal(self, policy: Policy, key: str, count: int) -> TooManyRequests:
        item = next(item for item in self._items[policy] if item.key == key)
        rate = item.rate
        if count > rate.quota:
            sentence = f"{count} at once are more than {item.name} ever allows: {rate.quota}."
            return TooManyRequests(
                "rate-limited",
                f"{sentence} Send fewer at once.",
                errors=[FieldError(item.name, sentence)],
                retry_after_seconds=rate.window_seconds,
            )
        allowed = f"{rate.quota} in {rate.window}"
        return TooManyRequests(
            "rate-limited",
            f"That is more than {item.name} allows: {allowed}. Go on after `Retry-After`.",
            errors=[FieldError(item.name, allowed)],
            retry_after_seconds=self._meter.wait_seconds(key, rate, count),
        )


def _items(name: str, owner: UUID | str, rates: Sequence[Rate]) -> list[_Item]:
    """The first goes by the plain name, the others with their window behind it."""
    names = [name, *(f"{name}-{rate.window}" for rate in rates[1:])]
    return [
        _Item(each, f"{owner}:{each}", rate, f'"{each}"'.encode())
        for each, rate in zip(names, rates, strict=False)
    ]


class Visit:
    """A request under way. The edge adds its headers to the answer and ends it."""

    __slots__ = ("_limits", "_policy", "_reseller_id", "_under_way")

    def __init__(
        self, limits: CallerLimits, policy: Policy, reseller_id: UUID, under_way: Counter[UUID]
    ) -> None:
        self._limits = limits
        self._policy: Policy = policy
        self._reseller_id = reseller_id
        self._under_way = under_way
        under_way[reseller_id] += 1

    def headers(self) -> Headers:
        """What to add to the answer."""
        return self._limits.headers(self._policy)

    def end(self) -> None:
        """The answer is sent, or nobody waits for it any more."""
        self._under_way[self._reseller_id] -= 1
        if not self._under_way[self._reseller_id]:
            del self._under_way[self._reseller_id]


class Visits:
    """Every caller's requests under way in this process, and its limits."""

    def __init__(self, meter: Meter, metrics: Metrics, default: DefaultRates, most: int) -> None:
        """`most`: requests of one reseller under way at once in this process."""
        self._meter = meter
        self._metrics = metrics
        self._default = default
        self._most = most
        self._limits: dict[str, tuple[KeyHolder, CallerLimits]] = {}
        self._under_way: Counter[UUID] = Counter()

    def limits_of(self, caller: KeyHolder) -> CallerLimits:
        """The caller's rates, as they stand with its key."""
        known = self._limits.get(caller.key_id)
        if known is not None and (known[0] is caller or known[0] == caller):
            return known[1]
        if len(self._limits) >= _REMEMBERED_CALLERS:
            self._limits.clear()
        limits = CallerLimits(caller, self._default, self._meter, self._metrics)
        self._limits[caller.key_id] = caller, limits
        return limits

    def admit_now(self, caller: KeyHolder, policy: Policy) -> Visit | None:
        """As `admit`, by what is known here; None, with nothing counted, where that does not do."""
        limits = self.limits_of(caller)
        if self._under_way[caller.reseller_id] >= self._most or not limits.take_now(policy):
            return None
        return Visit(limits, policy, caller.reseller_id, self._under_way)

    async def admit(self, scope: Scope, caller: KeyHolder, policy: Policy) -> None:
        """Let a request in, counted once; its answer has the headers either way.

        Raises TooManyRequests: for its rate, or because the reseller has too many under way.
        """
        limits = self.limits_of(caller)
        scope["state"]["visit"] = Visit(limits, policy, caller.reseller_id, self._under_way)
        if self._under_way[caller.reseller_id] > self._most:
            self._metrics.rate_limited("in-flight")
            raise TooManyRequests(
                "too-many-at-once",
                f"More than {self._most} of your requests are under way: wait for answers first.",
                retry_after_seconds=_AT_ONCE_SECONDS,
            )
        await limits.take(policy)
