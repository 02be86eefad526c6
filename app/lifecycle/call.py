"""Call: the sending to dealers, once, for all protocols, counted a dealer.

What comes back is the dealer's answer, or a report of our own transport. Only a connection that
was never made proves that nothing was sent.
"""

from collections import Counter
from dataclasses import dataclass, replace

from app.lifecycle.admit import Admission, Kind, boottime_seconds
from app.lifecycle.sessions import NoSession, Sessions
from app.lifecycle.trade import DealerAccess
from app.metrics import Metrics
from app.outbound.client import FailureKind, OutboundClient, TransportFailure
from app.traces import HEADER as TRACE_HEADER
from app.traces import Trace, traceparent
from dealers.contract import Answer, Outcome, Report, Request

MAX_ANSWER_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Called:
    """Either the dealer's answer, or our transport's own report."""

    answer: Answer | None
    report: Report


_ANSWERED = Report(Outcome.UNKNOWN, "answered")


_OWN_FAILURES = frozenset({FailureKind.BUSY, FailureKind.UNSENDABLE})
"""They say nothing about the dealer."""


class DealerCalls:
    """Bounded connection pools a dealer, and the calls under way there."""

    def __init__(self, metrics: Metrics, admission: Admission) -> None:
        self._metrics = metrics
        self._admission = admission
        self._clients: dict[tuple[str, Kind], tuple[tuple[int, float], OutboundClient]] = {}
        self._under_way: Counter[tuple[str, Kind]] = Counter()
        self.monotonic = admission.monotonic
        self.sessions = Sessions(self._send_log_in, boottime_seconds)

    def under_way(self, dealer_id: str, kind: Kind) -> int:
        """How many calls of a kind to the dealer are being made."""
        return self._under_way[dealer_id, kind]

    async def call(
        self, access: DealerAccess, request: Request, kind: Kind, trace: Trace | None = None
    ) -> Called:
        """Send once. Whatever goes wrong, and whatever is thrown, becomes a report.

        `trace`: that of the order that it is about, for a dealer that wants it.
        """
        if access.only_at is not None and not request.url.startswith(access.only_at):
            text = f"a test dealer is called at {access.only_at} only"
            return Called(None, Report(Outcome.REJECTED, FailureKind.UNSENDABLE, text))
        started = self.monotonic()
        self._under_way[access.row.dealer_id, kind] += 1
        try:
            answer = await self._client(access, kind).call(
                _traced(access, request, trace),
                timeout_seconds=access.row.timeout_seconds,
                max_answer_bytes=MAX_ANSWER_BYTES,
            )
        except TransportFailure as failure:
            self._metrics.dealer_call_failed(access.row.dealer_id, kind, failure.kind)
            if failure.kind not in _OWN_FAILURES:
                self._admission.failed(access.row.dealer_id, failure.kind, started)
            outcome = Outcome.REJECTED if failure.nothing_sent else Outcome.UNKNOWN
            return Called(None, Report(outcome, failure.kind, failure.detail[:200]))
        except Exception as error:  # noqa: BLE001 - the one place where a surprise becomes unknown
            self._metrics.dealer_call_failed(access.row.dealer_id, kind, "call-failed")
            return Called(None, Report(Outcome.UNKNOWN, "call-failed", type(error).__name__))
        finally:
            self._under_way[access.row.dealer_id, kind] -= 1
            seconds = self.monotonic() - started
            self._metrics.dealer_called(access.row.dealer_id, kind, seconds)
        self._admission.answered(access.row.dealer_id, answer.status, started)
        return Called(answer, _ANSWERED)

    async def close(self) -> None:
        """Close every connection."""
        await self.sessions.close()
        for _, client in self._clients.values():
            await client.close()

    async def _send_log_in(self, access: DealerAccess, request: Request) -> Answer:
        self._admission.charge(access.row.dealer_id)
        called = await self.call(access, request, Kind.LOG_IN)
        if called.answer is None:
            raise NoSession(f"no answer to the log-in: {called.report.code}")
        return called.answer

    def _client(self, access: DealerAccess, kind: Kind) -> OutboundClient:
        """The dealer's pool for a kind, made anew when its limits change."""
        limits = (access.row.concurrency, access.row.connect_timeout_seconds)
        key = (access.row.dealer_id, kind)
        known = self._clients.get(key)
        if known is None or known[0] != limits:
            client = OutboundClient(
                # Twice the places: after a limit was lowered, what is claimed still goes out.
                max_in_flight=2 * access.row.concurrency,
                connect_timeout_seconds=access.row.connect_timeout_seconds,
            )
            known = self._clients[key] = (limits, client)
        return known[1]


def _traced(access: DealerAccess, request: Request, trace: Trace | None) -> Request:
    """The request with the order's trace, no part of which any protocol signs."""
    header = traceparent(trace)
    if header is None or not access.capabilities.takes_traceparent:
        return request
    return replace(request, headers={**request.headers, TRACE_HEADER: header})
