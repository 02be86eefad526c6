"""The demo's show: orders are sent, what becomes of them is told, the witnesses are heard."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from rich.console import Console
from rich.table import Table

from app import logs
from app.cli.demo import report
from app.cli.demo.board import Moment
from app.cli.demo.live import LiveView
from app.cli.demo.orders import Sent, send_orders
from app.cli.demo.stage import Handout, Stage
from app.cli.serve import Running
from app.storage import lives
from app.storage.lanes import lane_of
from app.storage.lives import Outcome, Step, Unfinished
from app.storage.pool import Pool
from routing.numbering import mask

_LONGEST_SECONDS = 180.0
_POLL_SECONDS = 0.25
_FIRST_LOOK_SECONDS = 3.0
_SERVING = "Serving; the handout in demo.json tells how to send orders."


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked for."""

    orders: int
    once: bool
    as_json: bool


class Show:
    """What the demo does once Jalur serves: register the receiver, send orders, tell, judge."""

    def __init__(
        self,
        stage: Stage,
        pool: Pool,
        handout: Handout,
        screen: Console,
        running: Running,
        *,
        live: bool,
    ) -> None:
        self._stage = stage
        self._pool = pool
        self._handout = handout
        self._screen = screen
        self._running = running
        self._reseller_id = UUID(handout.reseller_id)
        self._lane = lane_of(self._reseller_id)
        first = Moment(handout.base_url, _SERVING, str(stage.folder / "jalur.log"))
        self._view = LiveView(pool, screen, running, self._reseller_id, first) if live else None

    async def perform(self, wish: Wish | None) -> list[str]:
        """Do what was wished for. Returns what went wrong."""
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            await self._register_receiver(client)
            path = self._handout.write(self._stage.folder)
            self._screen.print(f"Jalur serves at {self._handout.base_url}; {path} tells the rest.")
            if wish is None:
                return await self._serve_on()
            if wish.once:
                return await self._judge_once(client, wish)
            return await self._send_and_serve_on(wish)

    async def _serve_on(self) -> list[str]:
        if self._view is None:
            self._screen.print("Ctrl-C ends it.")
        async with self._viewing():
            await self._running.stop.wait()
        return []

    async def _send_and_serve_on(self, wish: Wish) -> list[str]:
        """Send, show how the orders stand, and serve until stopped."""
        async with self._viewing():
            sent = await self._unless_stopped(self._send(wish.orders))
            if self._view is not None:
                self._view.say(_SERVING)
                await self._running.stop.wait()
        if sent is None:
            return []
        if self._view is None:
            await asyncio.sleep(_FIRST_LOOK_SECONDS)
        await self._tell(await self._outcomes(sent))
        return [] if self._view is not None else await self._serve_on()

    async def _judge_once(self, client: httpx.AsyncClient, wish: Wish) -> list[str]:
        """Send, wait until every dealer is done, and hold the witnesses against each other."""
        started = time.monotonic()
        async with self._viewing():
            sent = await self._unless_stopped(self._send_all(client, wish.orders, started))
        if sent is None:
            self._screen.print("Stopped before the orders were done.")
            return ["stopped"]
        outcomes = await self._outcomes(sent)
        await self._tell(outcomes)
        async with self._pool.acquire() as connection:
            evidence = await report.gather(connection, client, self._stage, sent, outcomes)
        faults = report.faults(evidence)
        for fault in faults:
            self._screen.print(f"fault: {fault}")
        counts = report.counts(evidence, time.monotonic() - started)
        if wish.as_json:
            sys.stdout.write(json.dumps(counts) + "\n")
            sys.stdout.flush()
        else:
            self._screen.print_json(data=counts)
        return faults

    def _viewing(self) -> contextlib.AbstractAsyncContextManager[None]:
        """The live view, where there is one."""
        return contextlib.nullcontext() if self._view is None else self._view.showing()

    @contextlib.contextmanager
    def _doing(self, words: str) -> Generator[Callable[[str], None]]:
        """Say what is being done; what is yielded changes the words."""
        if self._view is not None:
            self._view.say(words)
            yield self._view.say
            return
        with self._screen.status(words) as status:
            yield status.update

    async def _unless_stopped(self, work: Coroutine[Any, Any, Sent]) -> Sent | None:
        """The work's result, or None when the demo is stopped first."""
        async with asyncio.TaskGroup() as group:
            working = group.create_task(work)
            stopped = group.create_task(self._running.stop.wait())
            await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
            working.cancel()
            stopped.cancel()
        return None if working.cancelled() else working.result()

    async def _register_receiver(self, client: httpx.AsyncClient) -> None:
        handout = self._handout
        if not handout.webhook_secret:
            created = await client.post(
                f"{handout.base_url}/v1/webhook-endpoints",
                headers={"authorization": f"Bearer {handout.api_key}"},
                json={"url": f"{handout.receiver_url}/hooks"},
            )
            created.raise_for_status()
            values = {name: getattr(handout, name) for name in Handout.__slots__}
            self._handout = Handout(**{**values, "webhook_secret": created.json()["secret"]})
        secret = {"secret": self._handout.webhook_secret}
        (await client.put(f"{handout.receiver_url}/secret", json=secret)).raise_for_status()

    async def _send_all(self, client: httpx.AsyncClient, count: int, started: float) -> Sent:
        sent = await self._send(count)
        await self._wait_for_the_end(client, sent, started)
        return sent

    async def _send(self, count: int) -> Sent:
        run_name = f"demo-{datetime.now(UTC):%Y%m%d%H%M%S}"
        with self._doing(f"Sending {count} orders …") as say:
            return await send_orders(
                self._handout.base_url,
                self._handout.api_key,
                run_name,
                count,
                lambda done: say(f"Sending orders: {done} of {count}"),
            )

    async def _wait_for_the_end(
        self, client: httpx.AsyncClient, sent: Sent, started: float
    ) -> None:
        """Until the dealers and Jalur have nothing left to do, or the patience is over."""
        with self._doing("Waiting for the last answers …") as say:
            while time.monotonic() - started < _LONGEST_SECONDS:
                done = await report.simulator_is_done(client, self._stage.simulator_url)
                async with self._pool.acquire() as connection:
                    left = await lives.unfinished(connection)
                if done and left.nothing and not report.stuck(await self._outcomes(sent)):
                    return
                say(_what_is_left(left, simulator_is_done=done))
                await asyncio.sleep(_POLL_SECONDS)

    async def _outcomes(self, sent: Sent) -> list[Outcome]:
        async with self._pool.acquire() as connection:
            return await lives.outcomes(connection, self._lane, self._reseller_id, f"{sent.run}-")

    async def _tell(self, outcomes: list[Outcome]) -> None:
        """Print how the orders stand, and the life of the most eventful finished one."""
        table = Table("status", "orders", title="Orders by status")
        statuses = [each.status for each in outcomes]
        for status in sorted(set(statuses)):
            table.add_row(status, str(statuses.count(status)))
        self._screen.print(table)
        finished = [each for each in outcomes if each.status == "succeeded"]
        if not finished:
            return
        told = max(finished, key=lambda each: len(each.dealer_refs))
        async with self._pool.acquire() as connection:
            steps = await lives.life_of(connection, self._lane, told.order_id)
        self._screen.print(_life(told, steps))


def _what_is_left(left: Unfinished, *, simulator_is_done: bool) -> str:
    dealers = "dealers are done" if simulator_is_done else "dealers have more to do"
    return (
        f"Waiting: {left.open_orders} orders open, {left.due_attempts} to be asked about, "
        f"{left.waiting_callbacks} callbacks, {left.pending_deliveries} webhooks; {dealers}"
    )


def _life(told: Outcome, steps: list[Step]) -> Table:
    title = f"The life of order {told.order_id} for {mask(told.customer_number)}"
    table = Table("ms", "what", "detail", title=title)
    first = steps[0].at
    for step in steps:
        milliseconds = (step.at - first).total_seconds() * 1000
        table.add_row(f"{milliseconds:,.0f}", step.what, logs.mask_numbers(step.detail))
    return table
