"""What operators watch, under Prometheus' conventions, in a registry of its own.

The code that does the work calls methods here, so that names and labels stand in one place. A
label's child is looked up once and then kept: finding it anew costs more than counting.
"""

from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from routing.health import BreakerState
from routing.monopoly import Market

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_HTTP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_DEALER_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

M = TypeVar("M", bound=MetricWrapperBase)


class _Children(dict[tuple[str, ...], M], Generic[M]):
    """The children of one metric, made when first asked for."""

    def __init__(self, metric: M) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> M:
        child = self[labels] = self._metric.labels(*labels)
        return child


class Metrics:
    """Every metric of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._orders()
        self._http()
        self._dealers()
        self._deliveries()
        self._state()

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
        self._refused[code,].inc()

    def order_finished(self, status: str) -> None:
        """An order got its final status, or another one by correction."""
        self._finished[status,].inc()

    def forced_monopoly(self, market: Market) -> None:
        """An order went to a group above its cap because nobody else could serve."""
        self._forced[market.brand, market.cluster or ""].inc()

    def batch(self, kind: str, rows: int) -> None:
        """A batch was committed; `kind` is `accept` or `settle`."""
        self._batches[kind,].observe(rows)

    # ---- the API

    def http_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. `route` is the template, never the path itself."""
        self._requests[method, route, f"{status // 100}xx"].observe(seconds)

    # ---- dealers

    def settled(self, dealer_id: str, outcome: str) -> None:
        """A word about an attempt was settled."""
        self._settled[dealer_id, outcome].inc()

    def dealer_called(self, dealer_id: str, seconds: float) -> None:
        """A dealer answered, or did not, after so long."""
        self._calls[dealer_id,].observe(seconds)

    def in_flight(self, dealer_id: str, calls: int) -> None:
        """So many calls to a dealer are under way."""
        self._in_flight[dealer_id,].set(calls)

    def breaker(self, dealer_id: str, state: BreakerState) -> None:
        """A dealer's breaker stands like this."""
        for each in BreakerState:
            self._breaker[dealer_id, each.value].set(each is state)

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

    def redis_up(self, answers: bool) -> None:
        """Redis answers, or does not."""
        self._redis_up.set(answers)

    def loop_lagged(self, seconds: float) -> None:
        """The event loop woke so much later than asked."""
        self._lag.set(seconds)

    # ---- definitions

    def _orders(self) -> None:
        self._accepted = self._counter("orders_accepted", "Orders accepted and committed.")
        self._replayed = self._counter("orders_replayed", "References that came again.")
        self._refused = _Children(self._counter("orders_refused", "Orders refused.", "code"))
        self._finished = _Children(
            self._counter("orders_finished", "Final statuses given to orders.", "status")
        )
        self._forced = _Children(
            self._counter(
                "forced_monopoly", "Picks that had to break the monopoly rule.", "brand", "cluster"
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

    def _http(self) -> None:
        self._requests = _Children(
            Histogram(
                "jalur_http_request_duration_seconds",
                "Time from a request's arrival to the end of its answer.",
                ("method", "route", "status"),
                buckets=_HTTP_SECONDS,
                registry=self.registry,
            )
        )

    def _dealers(self) -> None:
        self._settled = _Children(
            self._counter("attempts_settled", "Words settled.", "dealer", "outcome")
        )
        self._calls = _Children(
            Histogram(
                "jalur_dealer_call_duration_seconds",
                "Time a dealer took to answer, or to not answer.",
                ("dealer",),
                buckets=_DEALER_SECONDS,
                registry=self.registry,
            )
        )
        self._in_flight = _Children(
            self._gauge("dealer_calls_in_flight", "Calls under way.", "dealer")
        )
        self._breaker = _Children(
            self._gauge("dealer_breaker_state", "1 for the state it is in.", "dealer", "state")
        )

    def _deliveries(self) -> None:
        self._tries = _Children(self._counter("webhook_tries", "Webhooks tried.", "result"))

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
        self._redis_up = self._gauge("redis_up", "1 while Redis answers.")
        self._lag = self._gauge("event_loop_lag_seconds", "How late the event loop last woke.")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"jalur_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"jalur_{name}", text, labels, registry=self.registry)
