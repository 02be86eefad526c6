"""What operators watch, under Prometheus' conventions, in a registry of its own.

The code that does the work calls methods here, so that names and labels stand in one place. A
label's child is looked up once and then kept: finding it anew costs more than counting. What names
things that come and go (dealers, markets) is replaced as a whole, so that nothing stays behind for
a dealer that is gone. Exposing reads memory only.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import accumulate
from typing import Generic, TypeAlias, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from routing.health import BreakerState
from routing.monopoly import (
    WHOLE_BASIS_POINTS,
    Market,
    MarketTotals,
    herfindahl_hirschman_index,
)
from routing.pacing import Pace
from routing.quality import Level, Quality

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_HTTP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_STATUSES = tuple(f"{hundreds}xx" for hundreds in range(10))
_DEALER_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60)
_LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_MOST_MARKETS = 200
"""Markets shown, those with the most orders first: each is a series a group."""

_MOST_USERS = 500
"""Pairs of something deprecated and a reseller that are counted apart."""

disable_created_metrics()  # each counter would have a second series with its time of birth

Labels: TypeAlias = tuple[str, ...]
M = TypeVar("M", bound=MetricWrapperBase)


class _Children(dict[Labels, M], Generic[M]):
    """The children of one metric, made when first asked for.

    `known` ones stand at 0 from the start: a rate does not see a counter's first step from nothing.
    """

    def __init__(self, metric: M, known: Iterable[Labels] = ()) -> None:
        super().__init__()
        self._metric = metric
        for labels in known:
            _ = self[labels]

    def __missing__(self, labels: Labels) -> M:
        child = self[labels] = self._metric.labels(*labels)
        return child


class _Rows(Collector):
    """A gauge whose rows are replaced as a whole; without rows it is absent."""

    def __init__(self, name: str, text: str, labels: Labels) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._rows: list[tuple[Labels, float]] = []

    def show(self, rows: Iterable[tuple[Labels, float]]) -> None:
        """Show these rows and no others."""
        self._rows = list(rows)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One family, as the registry asks for it."""
        family = GaugeMetricFamily(self._name, self._text, labels=self._labels)
        for labels, value in self._rows:
            family.add_metric(labels, value)
        yield family


class _Counts(Collector):
    """A counter for what comes with every request, refused ones too: it counts in a tenth of the
    time that the library's takes. For the event loop alone.

    `known` labels stand at 0 from the start, as `_Children`'s.
    """

    def __init__(self, name: str, text: str, labels: Labels, known: Iterable[Labels]) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._counts = dict.fromkeys(known, 0)

    def add(self, labels: Labels) -> None:
        """One more of these labels."""
        self._counts[labels] = self._counts.get(labels, 0) + 1

    def collect(self) -> Iterable[CounterMetricFamily]:
        """One family, as the registry asks for it."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for labels, count in self._counts.items():
            family.add_metric(labels, count)
        yield family


class _Durations(Collector):
    """A histogram of seconds, as `_Counts`: for what comes with every request."""

    def __init__(self, name: str, text: str, labels: Labels, bounds: Sequence[float]) -> None:
        self._name, self._text, self._labels, self._bounds = name, text, labels, bounds
        self._counts: dict[Labels, list[int]] = {}
        """By bucket, each without those before it; the last is beyond all bounds."""
        self._sums: dict[Labels, float] = {}

    def observe(self, labels: Labels, seconds: float) -> None:
        """One more of these labels, and how long it took."""
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._bounds) + 1)
            self._sums[labels] = 0.0
        counts[bisect_left(self._bounds, seconds)] += 1
        self._sums[labels] += seconds

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """One family, as the registry asks for it."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for labels, counts in self._counts.items():
            up_to = zip(names, accumulate(counts), strict=True)
            family.add_metric(labels, list(up_to), self._sums[labels])
        yield family


class Metrics:
    """Every metric of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._orders()
        self._markets()
        self._share_exchange()
        self._http()
        self._rates()
        self._dealers()
        self._dealer_accounts()
        self._deliveries()
        self._state()
        self._money()
        self._process()

    def exposition(self) -> bytes:
        """The registry as Prometheus reads it."""
        return generate_latest(self.registry)

    # ---- orders

    def order_accepted(self) -> None:
        """An order was accepted, committed and answered."""
        self._accepted.inc()

    def order_replayed(self) -> None:
        """A reference came again and was answered with its order."""
        self._replayed.inc()

    def order_refused(self, code: str) -> None:
        """An order was refused, with the problem's code."""
        self._refused.add((code,))

    def order_shed(self, reason: str) -> None:
        """An order was not let in, since the `queues` are old or the `backlog` is too deep."""
        self._shed.add((reason,))

    def intake(self, waits: Mapping[str, float], ratio: float) -> None:
        """So long the oldest waits in each queue; so much of what is asked for is let in."""
        self._ages.show(((queue,), seconds) for queue, seconds in waits.items())
        self._intake_ratio.set(ratio)

    def repeat_refused(self, dealer_id: str) -> None:
        """A purchase was not made: the dealer sold its product for the number today already."""
        self._repeats_refused[dealer_id,].inc()

    def cluster_refused(self, dealer_id: str) -> None:
        """A dealer refused a number as outside its area."""
        self._cluster_refusals[dealer_id,].inc()

    def clusters_refused(self, areas: Mapping[str, int]) -> None:
        """In how many markets each dealer is left out since it refused their clusters."""
        self._clusters_refused.show(((dealer_id,), count) for dealer_id, count in areas.items())

    def order_finished(self, status: str) -> None:
        """An order got its final status, or another one by correction."""
        self._finished[status,].inc()

    def forced_monopoly(self, market: Market) -> None:
        """An order went to a group above its cap because nobody else could serve."""
        self._forced[_labels(market)].inc()

    def monopoly_avoided(self, market: Market, cost_rupiah: int) -> None:
        """An order was accepted at a dearer dealer because cheaper ones were barred."""
        self._avoided[_labels(market)].inc(cost_rupiah)

    def batch(self, kind: str, rows: int) -> None:
        """A batch was committed; `kind` is `accept` or `settle`."""
        self._batches[kind,].observe(rows)

    # ---- markets

    def markets(self, totals: Mapping[Market, MarketTotals]) -> None:
        """The window's purchases by market and owner group."""
        largest = sorted(totals.items(), key=lambda each: (-each[1].orders, _labels(each[0])))
        shown = [(_labels(market), each) for market, each in largest[:_MOST_MARKETS]]
        self._market_orders.show((labels, each.orders) for labels, each in shown)
        self._hhi.show((labels, herfindahl_hirschman_index(each)) for labels, each in shown)
        self._shares.show(
            ((*labels, group), total.value_rupiah / each.value_rupiah)
            for labels, each in shown
            if each.value_rupiah > 0
            for group, total in each.groups.items()
        )

    def policy(self, cap_ratio: float, sample_orders: int) -> None:
        """What the monopoly rule in force says."""
        self._cap.set(cap_ratio)
        self._sample.set(sample_orders)

    def share_rows(self, direction: str, rows: int) -> None:
        """So many rows of counts were `published` to other processes, or `taken_in`."""
        self._share_rows[direction,].inc(rows)

    def shares_counted_anew(self, why: str, seconds: float) -> None:
        """The shares were counted anew from the database, which took so long."""
        self._counted_anew[why,].inc()
        self._counting_anew.set(seconds)

    def shares_corrected(self, difference_ratio: float) -> None:
        """A regular correction changed a group's share by so much, in the market that it changed
        most."""
        self._correction.set(difference_ratio)

    def share_exchange(self, age_seconds: float | None, peers: int) -> None:
        """The last exchange was so long ago; None without Redis. So many others take part."""
        self._exchange_age.show([] if age_seconds is None else [((), age_seconds)])
        self._exchange_peers.show([] if age_seconds is None else [((), peers)])

    # ---- the API

    def http_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. `route` is the template, never the path itself."""
        self._requests.observe((method, route, _STATUSES[status // 100]), seconds)

    def event_streams(self, count: int) -> None:
        """So many streams of events are open."""
        self._streams.set(count)

    def event_stream_ended(self, reason: str) -> None:
        """A stream of events ended, and why."""
        self._stream_ends[reason,].inc()

    def deprecated_use(self, what: str, reseller_id: str) -> None:
        """A reseller used what will go away; beyond the first few hundred, they count together."""
        labels = what, reseller_id
        if labels not in self._deprecated_uses and len(self._deprecated_uses) >= _MOST_USERS:
            labels = what, "others"
        self._deprecated_uses[labels].inc()

    # ---- dealers

    def settled(self, dealer_id: str, source: str, outcome: str) -> None:
        """A word about an attempt was settled; `source` is who brought it."""
        self._settled[dealer_id, source, outcome].inc()

    def dealer_called(self, dealer_id: str, kind: str, seconds: float) -> None:
        """A dealer answered, or did not, after so long.

        `kind` is `purchase`, `question` or `log_in`.
        """
        self._calls[dealer_id, kind].observe(seconds)

    def dealer_call_failed(self, dealer_id: str, kind: str, reason: str) -> None:
        """A call brought no answer that could be read."""
        self._failures[dealer_id, kind, reason].inc()

    def called_back(self, dealer_id: str, verdict: str) -> None:
        """A dealer's callback was refused, or concluded with this verdict."""
        self._callbacks[dealer_id, verdict].inc()

    def in_flight(self, calls: Mapping[tuple[str, str], int]) -> None:
        """So many acts are claimed and under way, by dealer and kind."""
        self._in_flight.show(calls.items())

    def dealer_limit_lowered(self, dealer_id: str, reason: str) -> None:
        """The number of calls that a dealer may have at once was lowered."""
        self._lowered[dealer_id, reason].inc()

    def dealer_paces(self, paces: Mapping[str, Pace]) -> None:
        """So much may be sent to each dealer by this process."""
        self._limits.show(((dealer_id,), pace.limit) for dealer_id, pace in paces.items())
        self._places.show(((dealer_id,), pace.in_use) for dealer_id, pace in paces.items())
        self._tokens.show(
            ((dealer_id,), pace.tokens)
            for dealer_id, pace in paces.items()
            if pace.tokens is not None
        )

    def buying_processes(self, count: int) -> None:
        """So many processes buy, this one included, and divide the dealers' limits."""
        self._buying.set(count)

    def breakers(self, states: Mapping[str, BreakerState]) -> None:
        """Every dealer's breaker stands like this."""
        self._breakers.show(
            ((dealer_id, each.value), each is state)
            for dealer_id, state in states.items()
            for each in BreakerState
        )

    def dealer_quality(self, judged: Mapping[tuple[str, str], Quality]) -> None:
        """How well dealers deliver, by dealer and product kind, where the sample suffices."""
        self._success.show(
            (key, quality.success_basis_points / WHOLE_BASIS_POINTS)
            for key, quality in judged.items()
        )
        self._quality_level.show(
            ((*key, each.value), each is quality.level)
            for key, quality in judged.items()
            for each in Level
        )

    def balance_pulled(self, dealer_id: str, result: str) -> None:
        """A balance was pulled; `result` is `agrees`, `differs` or `failed`."""
        self._pulled[dealer_id, result].inc()

    def dealer_accounts(self, rows: Sequence[tuple[str, Mapping[str, float | None]]]) -> None:
        """Our accounts at dealers that told a balance: what is named in `_ACCOUNT`, by dealer."""
        for name, shown in self._accounts.items():
            values = ((dealer_id, row[name]) for dealer_id, row in rows)
            shown.show(((dealer_id,), value) for dealer_id, value in values if value is not None)

    def price_risen(self, dealer_id: str) -> None:
        """A purchase was charged above its route's cost."""
        self._price_rises[dealer_id,].inc()

    def price_risen_routes(self, count: int) -> None:
        """So many routes are not bought from because their price rose."""
        self._risen_routes.set(count)

    # ---- deliveries

    def delivered(self, result: str) -> None:
        """A webhook was tried; `result` is `delivered`, `retry` or `failed`."""
        self._tries[result,].inc()

    # ---- the state of things, measured now and then

    def backlog(self, orders: int) -> None:
        """So many accepted orders wait for a dealer."""
        self._backlog.set(orders)

    def oldest_unresolved(self, seconds: float) -> None:
        """The age of the oldest purchase without a final word."""
        self._unresolved.set(seconds)

    def oldest_undelivered(self, seconds: float) -> None:
        """The age of the oldest webhook that is still to be delivered."""
        self._undelivered.set(seconds)

    def doubts(self, reviews: int, disputes: int) -> None:
        """So many reviews and disputes are open."""
        self._reviews.set(reviews)
        self._disputes.set(disputes)

    def hold(self, held: bool) -> None:
        """Purchases and checks are held, or not."""
        self._hold.set(held)

    def endpoints_failing(self, count: int, longest_seconds: float) -> None:
        """So many endpoints fail, the longest of them for so long."""
        self._endpoints_failing.set(count)
        self._longest_failing.set(longest_seconds)

    def endpoint_breakers(self, count: int) -> None:
        """So many endpoints are left alone, or tried one delivery at a time."""
        self._endpoint_breakers.set(count)

    def endpoint_disabled(self, reason: str) -> None:
        """An endpoint was disabled: it is `gone`, or `failing` for days."""
        self._endpoints_disabled[reason,].inc()

    def tries_unlogged(self, count: int) -> None:
        """What came back from so many tries was not kept."""
        self._unlogged.inc(count)

    def due_deliveries(self, count: int) -> None:
        """So many webhooks are due, and not delivered yet."""
        self._due.set(count)

    def wallets(
        self, available: int, reserved: int, credit_in_use: int, beyond_credit: int
    ) -> None:
        """What all wallets hold, in rupiah, and how many are below their credit limit."""
        self._available.set(available)
        self._reserved.set(reserved)
        self._credit.set(credit_in_use)
        self._beyond_credit.set(beyond_credit)

    def table(self, revision: int, goods_revision: int, goods_wanted: int, faults: int) -> None:
        """The routing table in force, the goods that are newest, and how much was left out."""
        self._revision.set(revision)
        self._goods_revision.set(goods_revision)
        self._goods_wanted.set(goods_wanted)
        self._faults.set(faults)

    def scheduled_table(self, result: str) -> None:
        """A routing table's moment came; `result` is `applied` or `refused`."""
        self._scheduled[result,].inc()

    def redis_up(self, answers: bool | None) -> None:
        """Redis answers, or does not; None where there is none."""
        self._redis_up.show([] if answers is None else [((), answers)])

    # ---- rates

    def rate_limited(self, policy: str) -> None:
        """A request was refused with 429; `policy` names the kind of limit."""
        self._rate_limited[policy,].inc()

    def rates_central(self, *, shared: bool) -> None:
        """The rates are those of all processes together, or this process keeps its part alone."""
        self._rates_central.set(shared)

    def api_processes(self, count: int) -> None:
        """How many processes answer the API."""
        self._api_processes.set(count)

    # ---- the process

    def loop_lagged(self, seconds: float) -> None:
        """The event loop woke so much later than asked."""
        self._lag.observe(seconds)

    def waiting(self, rows: Mapping[str, int]) -> None:
        """So much waits for its transaction, by batch."""
        self._waiting.show(((kind,), count) for kind, count in rows.items())

    def connections(self, open_now: int, idle: int, most: int) -> None:
        """The pool's connections to PostgreSQL."""
        self._connections["idle",].set(idle)
        self._connections["in_use",].set(open_now - idle)
        self._most_connections.set(most)

    def waited_for_connection(self, seconds: float) -> None:
        """So long the last look at the database waited for a connection."""
        self._connection_wait.set(seconds)

    def duty_done(self, duty: str, at: float) -> None:
        """A duty of upkeep succeeded at this Unix time."""
        self._duty_done[duty,].set(at)

    def duty_failed(self, duty: str) -> None:
        """A duty of upkeep failed; it is tried again."""
        self._duty_failed[duty,].inc()

    def log_lines_lost(self, in_all: int) -> None:
        """So many lines of the log could not be written since the process started."""
        self._lines_lost.inc(in_all - self._lines_lost_before)
        self._lines_lost_before = in_all

    # ---- definitions

    def _orders(self) -> None:
        self._accepted = self._counter("orders_accepted", "Orders accepted and committed.")
        self._replayed = self._counter("orders_replayed", "References that came again.")
        self._refused = self._counts(
            "orders_refused", "Orders refused.", "code", known=["overloaded"]
        )
        self._shed = self._counts(
            "orders_shed",
            "Orders not let in for overload.",
            "reason",
            known=["queues", "backlog"],
        )
        self._ages = self._rows(
            "queue_age_seconds", "How long the oldest in a queue of this process waits.", "queue"
        )
        self._intake_ratio = self._gauge(
            "intake_ratio", "How much of the orders asked for is let in; 1: all."
        )
        self._intake_ratio.set(1)
        self._finished = _Children(
            self._counter("orders_finished", "Final statuses given to orders.", "status"),
            [("succeeded",), ("failed",), ("reversed",)],
        )
        self._forced = _Children(
            self._counter(
                "forced_monopoly", "Orders that had to break the monopoly rule.", *_MARKET
            )
        )
        self._avoided = _Children(
            self._counter(
                "monopoly_avoidance_cost_rupiah",
                "What accepted orders cost more because cheaper dealers were barred.",
                *_MARKET,
            )
        )
        self._batches = _Children(
            Histogram(
                "jalur_batch_rows",
                "Rows committed by one transaction.",
                ("kind",),
                buckets=_ROWS,
                registry=self.registry,
            )
        )

    def _markets(self) -> None:
        self._market_orders = self._rows(
            "market_orders", "Orders in the market's window, those in flight included.", *_MARKET
        )
        self._shares = self._rows(
            "market_share_ratio",
            "An owner group's part of the market's purchase value in the window.",
            *_MARKET,
            "owner_group",
        )
        self._hhi = self._rows(
            "market_herfindahl_index",
            "Concentration of the market in the window, from 0 to 10000 for one group alone.",
            *_MARKET,
        )
        self._cap = self._gauge(
            "market_share_cap_ratio", "The share from which on an owner group is barred."
        )
        self._sample = self._gauge(
            "market_sample_orders", "Orders in a market's window below which nobody is barred."
        )

    def _share_exchange(self) -> None:
        self._exchange_age = self._rows(
            "share_exchange_age_seconds",
            "Since what this process told the others was last read back; absent without Redis.",
        )
        self._exchange_peers = self._rows(
            "share_exchange_peers", "Other processes that shares are exchanged with."
        )
        self._share_rows = _Children(
            self._counter("share_deltas", "Rows of counts exchanged.", "direction"),
            [("published",), ("taken_in",)],
        )
        self._counted_anew = _Children(
            self._counter(
                "share_rebuilds", "Times that shares were counted anew from the database.", "reason"
            ),
            [(reason,) for reason in _REBUILD_REASONS],
        )
        self._counting_anew = self._gauge(
            "share_rebuild_duration_seconds", "How long the shares were last counted anew."
        )
        self._correction = self._gauge(
            "share_correction_difference_ratio",
            "What the last regular correction changed, in the market that it changed most.",
        )

    def _rates(self) -> None:
        self._rate_limited = _Children(
            self._counter("rate_limited_requests", "Requests refused with 429.", "policy"),
            [(policy,) for policy in ("orders", "reads", "in-flight")],
        )
        self._rates_central = self._gauge(
            "rates_central", "1 while the rates are kept in Redis, for all processes together."
        )
        self._api_processes = self._gauge(
            "api_processes", "Processes that answer the API, this one included."
        )

    def _http(self) -> None:
        self._requests = _Durations(
            "jalur_http_request_duration_seconds",
            "Time from a request's arrival to the end of its answer.",
            ("method", "route", "status"),
            _HTTP_SECONDS,
        )
        self.registry.register(self._requests)

        self._deprecated_uses = _Children(
            self._counter(
                "deprecated_uses", "Requests that used what will go away.", "what", "reseller"
            )
        )
        self._streams = self._gauge("event_streams", "Streams of events that are open.")
        self._stream_ends = _Children(
            self._counter("event_stream_ends", "Streams of events that ended.", "reason"),
            [(reason,) for reason in _STREAM_ENDS],
        )

    def _dealers(self) -> None:
        self._cluster_refusals = _Children(
            self._counter(
                "cluster_refusals", "Purchases refused as outside the dealer's area.", "dealer"
            )
        )
        self._clusters_refused = self._rows(
            "clusters_refused",
            "Markets that a dealer is left out of since it refused their cluster.",
            "dealer",
        )
        self._repeats_refused = _Children(
            self._counter(
                "repeats_refused",
                "Purchases not made: the dealer sold its product for the number today already.",
                "dealer",
            )
        )
        self._settled = _Children(
            self._counter(
                "attempts_settled",
                "Words settled, by who brought them.",
                "dealer",
                "source",
                "outcome",
            )
        )
        self._calls = _Children(
            Histogram(
                "jalur_dealer_call_duration_seconds",
                "Time a dealer took to answer, or to not answer.",
                ("dealer", "kind"),
                buckets=_DEALER_SECONDS,
                registry=self.registry,
            )
        )
        self._failures = _Children(
            self._counter(
                "dealer_call_failures", "Calls without an answer.", "dealer", "kind", "reason"
            )
        )
        self._callbacks = _Children(
            self._counter("callbacks", "Callbacks of dealers concluded.", "dealer", "verdict")
        )
        self._in_flight = self._rows(
            "dealer_calls_in_flight", "Calls claimed and under way.", "dealer", "kind"
        )
        self._lowered = _Children(
            self._counter(
                "dealer_limit_decreases",
                "How often the limit of calls at once was lowered.",
                "dealer",
                "reason",
            )
        )
        self._limits = self._rows(
            "dealer_limit", "Calls that this process may have under way at once.", "dealer"
        )
        self._places = self._rows(
            "dealer_limit_in_use", "Calls that are claimed, of that limit.", "dealer"
        )
        self._tokens = self._rows(
            "dealer_rate_tokens",
            "Requests that this process may send at once; absent without a rate.",
            "dealer",
        )
        self._buying = self._gauge("buying_processes", "Processes that divide dealers' limits.")
        self._breakers = self._rows(
            "dealer_breaker_state", "1 for the state that it is in.", "dealer", "state"
        )
        self._success = self._rows(
            "dealer_success_ratio",
            "Deliveries of definite outcomes in the window; absent below the minimum sample.",
            "dealer",
            "product_group",
        )
        self._quality_level = self._rows(
            "dealer_quality_level",
            "1 for the level that its success ratio is at.",
            "dealer",
            "product_group",
            "level",
        )

    def _dealer_accounts(self) -> None:
        self._pulled = _Children(
            self._counter(
                "dealer_balance_pulls", "Balances asked for, by what came.", "dealer", "result"
            )
        )
        self._accounts = {
            key: self._rows(f"dealer_{name}", text, "dealer")
            for key, (name, text) in _ACCOUNT.items()
        }
        self._price_rises = _Children(
            self._counter("price_rises", "Purchases charged above their route's cost.", "dealer")
        )
        self._risen_routes = self._gauge(
            "price_risen_routes", "Routes not bought from because their dealer charged more."
        )

    def _deliveries(self) -> None:
        self._tries = _Children(
            self._counter("webhook_tries", "Webhooks tried.", "result"),
            [("delivered",), ("retry",), ("failed",)],
        )
        self._endpoints_failing = self._gauge(
            "webhook_endpoints_failing", "Active endpoints that heard nothing since a failure."
        )
        self._longest_failing = self._gauge(
            "webhook_endpoint_longest_failing_seconds", "For how long the longest of them has."
        )
        self._endpoint_breakers = self._gauge(
            "webhook_breakers_open", "Endpoints that this process leaves alone after failures."
        )
        self._endpoints_disabled = _Children(
            self._counter("webhook_endpoints_disabled", "Endpoints that we disabled.", "reason"),
            [("gone",), ("failing",)],
        )
        self._unlogged = self._counter(
            "webhook_tries_unlogged", "Tries of which what came back could not be kept."
        )

    def _state(self) -> None:
        self._backlog = self._gauge("ready_orders", "Accepted orders that wait for a dealer.")
        self._unresolved = self._gauge(
            "oldest_unresolved_attempt_seconds", "Age of the oldest purchase without a final word."
        )
        self._undelivered = self._gauge(
            "oldest_undelivered_webhook_seconds", "Age of the oldest webhook still to be delivered."
        )
        self._reviews = self._gauge("reviews_open", "Orders that people must look at.")
        self._disputes = self._gauge("disputes_open", "Purchases to be disputed with dealers.")
        self._hold = self._gauge(
            "hold", "1 while purchases and checks are held after the database changed."
        )
        self._due = self._gauge("due_deliveries", "Webhooks that are due, counted up to 100001.")
        self._redis_up = self._rows("redis_up", "1 while Redis answers; absent without Redis.")
        self._revision = self._gauge("table_revision", "Revision of the routing table in force.")
        self._goods_revision = self._gauge(
            "goods_revision", "Revision of the products, prices and routes in force."
        )
        self._goods_wanted = self._gauge(
            "goods_revision_wanted",
            "Their newest revision; until compiled, not in force.",
        )
        self._faults = self._gauge(
            "table_faults", "Dealers and routes that were left out of the routing table."
        )

        self._scheduled = _Children(
            self._counter(
                "scheduled_tables", "Routing tables whose moment came, by what became.", "result"
            ),
            [("applied",), ("refused",)],
        )

    def _money(self) -> None:
        self._available = self._gauge(
            "wallets_available_rupiah", "Sum of all wallets' balances, negative ones included."
        )
        self._reserved = self._gauge(
            "wallets_reserved_rupiah", "Sum of what wallets hold for open orders."
        )
        self._credit = self._gauge(
            "wallets_credit_in_use_rupiah", "Sum of negative balances: what resellers owe."
        )
        self._beyond_credit = self._gauge(
            "wallets_beyond_credit", "Wallets that owe more than their credit limit."
        )

    def _process(self) -> None:
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        build = Info("jalur_build", "What runs.", registry=self.registry)
        build.info({"version": version("jalur")})
        self._lag = Histogram(
            "jalur_event_loop_lag_seconds",
            "How late the event loop woke, looked at ten times a second.",
            buckets=_LAG_SECONDS,
            registry=self.registry,
        )
        self._waiting = self._rows(
            "batch_waiting_rows", "Rows that wait for their transaction.", "kind"
        )
        self._connections = _Children(
            self._gauge("database_connections", "The pool's open connections.", "state")
        )
        self._most_connections = self._gauge(
            "database_connections_max", "Connections that the pool may open."
        )
        self._connection_wait = self._gauge(
            "database_connection_wait_seconds", "How long upkeep last waited for a connection."
        )
        self._duty_done = _Children(
            self._gauge(
                "upkeep_last_success_timestamp_seconds", "When a duty last succeeded.", "duty"
            )
        )
        self._duty_failed = _Children(
            self._counter("upkeep_failures", "Duties that failed and are tried again.", "duty")
        )
        self._lines_lost = self._counter("log_lines_lost", "Lines that could not be written.")
        self._lines_lost_before = 0

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"jalur_{name}", text, labels, registry=self.registry)

    def _counts(self, name: str, text: str, label: str, *, known: Sequence[str]) -> _Counts:
        counts = _Counts(f"jalur_{name}", text, (label,), [(each,) for each in known])
        self.registry.register(counts)
        return counts

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"jalur_{name}", text, labels, registry=self.registry)

    def _rows(self, name: str, text: str, *labels: str) -> _Rows:
        rows = _Rows(f"jalur_{name}", text, labels)
        self.registry.register(rows)
        return rows


_MARKET = ("brand", "cluster")
_ACCOUNT = {
    "told": ("float_rupiah", "Our balance as the dealer told it last."),
    "expected": (
        "float_expected_rupiah",
        "What should be left: the last balance less what was taken since and is in flight.",
    ),
    "difference": (
        "float_difference_rupiah",
        "How far the last balance lies outside of our own account; below 0 where money is missing.",
    ),
    "differs": ("float_differs", "1 while that is beyond the dealer's tolerance."),
    "in_flight": ("float_in_flight_rupiah", "Cost of purchases without a final word."),
    "age": ("balance_age_seconds", "Since the dealer was last asked for the balance."),
    "runway": (
        "float_runway_seconds",
        "How long the money lasts at yesterday's pace; absent where longer than a week.",
    ),
}
"""What is shown of an account: the metric's name and what it is."""
_STREAM_ENDS = ("gone", "revoked", "slow", "stopping", "failed")
_REBUILD_REASONS = ("start", "connected", "gap", "silence", "groups", "correction")


def _labels(market: Market) -> tuple[str, str]:
    return market.brand, market.cluster or ""
