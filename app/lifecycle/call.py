"""Call: the sending to dealers, once, for all protocols, counted a dealer.

What comes back is the dealer's answer, or a report of our own transport. Only a connection that
was never made proves that nothing was sent.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from app.lifecycle.route import DealerAccess
from app.metrics import Metrics
from app.outbound.client import OutboundClient, TransportFailure
from dealers.contract import Answer, Outcome, Report, Request

MAX_ANSWER_BYTES = 65536


def boottime_seconds() -> float:
    """The clock that leases are held against: monotonic, and it counts while suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Called:
    """Either the dealer's answer, or our transport's own report."""

    answer: Answer | None
    report: Report


_ANSWERED = Report(Outcome.UNKNOWN, "answered")


class DealerCalls:
    """One bounded connection pool a dealer, and what is in flight there."""

    def __init__(self, metrics: Metrics, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clients: dict[str, tuple[tuple[int, float], OutboundClient]] = {}
        self._in_flight: dict[str, int] = {}
        self.monotonic = monotonic

    def in_flight(self, dealer_id: str) -> int:
        """How many calls are on their way to the dealer."""
        return self._in_flight.get(dealer_id, 0)

    def enter(self, dealer_id: str) -> None:
        """Count an act that was claimed for the dealer."""
        self._in_flight[dealer_id] = self._in_flight.get(dealer_id, 0) + 1

    def leave(self, dealer_id: str) -> None:
        """The act is over."""
        self._in_flight[dealer_id] -= 1

    async def call(self, access: DealerAccess, request: Request) -> Called:
        """Send once. Whatever goes wrong, and whatever is thrown, becomes a report."""
        started = self.monotonic()
        try:
            answer = await self._client(access).call(
                request,
                timeout_seconds=access.row.timeout_seconds,
                max_answer_bytes=MAX_ANSWER_BYTES,
            )
        except TransportFailure as failure:
            outcome = Outcome.REJECTED if failure.nothing_sent else Outcome.UNKNOWN
            return Called(None, Report(outcome, failure.kind, failure.detail[:200]))
        except Exception as error:  # noqa: BLE001 - the one place where a surprise becomes unknown
            return Called(None, Report(Outcome.UNKNOWN, "call-failed", type(error).__name__))
        finally:
            seconds = self.monotonic() - started
            self._metrics.dealer_called(access.row.dealer_id, seconds)
        return Called(answer, _ANSWERED)

    async def close(self) -> None:
        """Close every connection."""
        for _, client in self._clients.values():
            await client.close()

    def _client(self, access: DealerAccess) -> OutboundClient:
        """The dealer's pool, anew when its limits change; with room for checks beside purchases."""
        limits = (access.row.concurrency, access.row.connect_timeout_seconds)
        known = self._clients.get(access.row.dealer_id)
        if known is None or known[0] != limits:
            client = OutboundClient(
                max_in_flight=2 * access.row.concurrency,
                connect_timeout_seconds=access.row.connect_timeout_seconds,
            )
            known = self._clients[access.row.dealer_id] = (limits, client)
        return known[1]
