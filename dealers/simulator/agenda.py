"""What the simulated dealers still do by themselves: late words, refunds, callbacks.

The agenda holds no truth. Every purchase in the book carries its next step and when that is due;
the agenda only waits, performs, and records. A step is over once its callback was taken (or given
up), and only then does the step after it begin to wait: so callbacks keep their order even while
the receiver is down, and a step that a kill interrupted is performed again.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

import httpx

from dealers.simulator.behaviour import State, Timing, plan_of
from dealers.simulator.book import Book, Key, Purchase, changed
from dealers.simulator.dialect import Desk, Outgoing

_SENDERS = 16
_MAX_TRIES = 120
_CALLBACK_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Errand:
    """Copies of one callback that nobody has taken yet."""

    purchase: Purchase
    claim: State
    copies: int
    tries: int = 0


class Agenda:
    """Performs the steps of unfinished purchases while `running`."""

    def __init__(self, book: Book, desks: Mapping[str, Desk], timing: Timing) -> None:
        self._book = book
        self._desks = desks
        self._timing = timing
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._errands: asyncio.Queue[_Errand] = asyncio.Queue()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Take up what an earlier run left, and go on until the block ends."""
        async with _client() as client, asyncio.TaskGroup() as tasks:
            senders = [tasks.create_task(self._send_errands(client)) for _ in range(_SENDERS)]
            for purchase in self._book.unfinished():
                self.follow(purchase)
            try:
                yield
            finally:
                for stoppable in [*senders, *self._timers.values()]:
                    stoppable.cancel()

    def follow(self, purchase: Purchase) -> None:
        """Wait for a purchase's next step, if it has one."""
        if purchase.due_at is not None:
            wait_seconds = max(0.0, purchase.due_at - time.time())
            self._wait(wait_seconds, purchase, partial(self._perform, purchase))

    def _wait(self, seconds: float, purchase: Purchase, act: Callable[[], None]) -> None:
        def fire() -> None:
            del self._timers[purchase.key]
            act()

        self._timers[purchase.key] = asyncio.get_running_loop().call_later(seconds, fire)

    def _perform(self, purchase: Purchase) -> None:
        step = plan_of(purchase.digits).steps[purchase.step]
        purchase = changed(purchase, step.change, time.time())
        if step.tell is None or not purchase.callback_url:
            self._conclude(purchase)
        else:
            self._book.record(purchase)
            self._errands.put_nowait(_Errand(purchase, step.tell, step.copies))

    def _conclude(self, purchase: Purchase) -> None:
        steps, following = plan_of(purchase.digits).steps, purchase.step + 1
        due_at = None
        if following < len(steps):
            due_at = time.time() + self._timing.before_step(steps[following].after)
        purchase = replace(purchase, step=following, due_at=due_at)
        self._book.record(purchase)
        self.follow(purchase)

    async def _send_errands(self, client: httpx.AsyncClient) -> None:
        while True:
            errand = await self._errands.get()
            refused = await self._send(client, errand)
            tries = errand.tries + 1
            if refused == 0 or tries == _MAX_TRIES:
                self._conclude(errand.purchase)
            else:
                again = replace(errand, copies=refused, tries=tries)
                retry = partial(self._errands.put_nowait, again)
                self._wait(self._timing.callback_retry_seconds, errand.purchase, retry)

    async def _send(self, client: httpx.AsyncClient, errand: _Errand) -> int:
        """Send every copy at once; return how many were not taken."""
        desk = self._desks[errand.purchase.dealer_id]
        balance_rupiah = self._book.balance_rupiah(desk.dealer)
        outgoing = desk.dialect.callback(desk.dealer, errand.purchase, errand.claim, balance_rupiah)
        copies = (_is_taken(client, outgoing) for _ in range(errand.copies))
        return (await asyncio.gather(*copies)).count(False)


def _client() -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=3 * _SENDERS, max_keepalive_connections=_SENDERS)
    return httpx.AsyncClient(timeout=_CALLBACK_TIMEOUT_SECONDS, limits=limits, trust_env=False)


async def _is_taken(client: httpx.AsyncClient, outgoing: Outgoing) -> bool:
    try:
        async with asyncio.timeout(_CALLBACK_TIMEOUT_SECONDS):
            answer = await client.request(
                outgoing.method, outgoing.url, headers=outgoing.headers, content=outgoing.body
            )
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
        return False
    return answer.is_success
