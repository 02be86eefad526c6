"""`jalur demo`: everything on one machine, out of the installed package, nothing to set up.

Embedded PostgreSQL and Valkey, simulated dealers that misbehave, a webhook receiver that verifies,
and the service itself. It sends orders, shows what became of them, and goes on serving.
"""

import asyncio
import contextlib
import json
import secrets
import socket
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import httpx
import typer
import uvloop
from rich.console import Console
from rich.table import Table
from uuid_utils.compat import uuid7

from app import logs
from app.cli.demo import report, seed
from app.cli.demo.orders import Sent, send_orders
from app.cli.demo.stage import (
    Handout,
    Programs,
    Stage,
    choose_ports,
    read_handout,
    set_stage,
    usable_folder,
)
from app.cli.serve import Role, Running, listen, run, stopping_on_signals
from app.embedded.folder import prepare
from app.sealing import Sealer
from app.settings import Settings, read_settings
from app.storage import api_keys, lives
from app.storage.lanes import lane_of
from app.storage.lives import Outcome, Step, Unfinished
from app.storage.migrate import migrate
from app.storage.pool import Pool, PoolSettings, open_pool
from routing.numbering import mask

DEALER_TIMEOUT_SECONDS = 12.0
REVIEW_AFTER_SECONDS = 30.0
SIMULATOR_SECONDS = {
    "callback_seconds": 1.0,
    "late_success_seconds": 3.0,
    "reversal_seconds": 3.0,
    "late_answer_seconds": 15.0,
    "slow_answer_seconds": 10.0,
    "late_serial_seconds": 2.0,
}
_LONGEST_SECONDS = 180.0
_POLL_SECONDS = 0.25
_FIRST_LOOK_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked for."""

    orders: int
    once: bool
    as_json: bool


def demo(
    orders: Annotated[int, typer.Option(min=1, max=100_000, help="How many orders to send.")] = 100,
    once: Annotated[
        bool,
        typer.Option("--once", help="End when every order is final; exit status 1 at a fault."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="End with the figures as one JSON object.")
    ] = False,
    no_orders: Annotated[
        bool,
        typer.Option("--no-orders", help="Only serve; DATA_DIR/demo.json tells how to use it."),
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where the API listens.")] = 8080,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where everything is kept; .jalur by default.")
    ] = None,
) -> None:
    """Show an order's whole life on one machine, with simulated dealers."""
    given = read_settings()
    folder = prepare(usable_folder(data_dir or given.data_dir))
    programs = Programs(given.postgres_bin, given.valkey_bin)
    listener = listen("127.0.0.1", port)
    base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    wish = None if no_orders else Wish(orders, once, as_json)
    screen = Console(stderr=as_json, highlight=False)
    screen.print(f"Starting PostgreSQL, Valkey, the dealer simulator and Jalur in {folder} …")
    config = seed.simulator_config(base_url, SIMULATOR_SECONDS)
    with (
        (folder / "jalur.log").open("a") as log,
        set_stage(folder, config, choose_ports(folder), programs) as stage,
    ):
        logs.configure("json", "info", log)
        faults = uvloop.run(_play(stage, listener, base_url, wish, screen))
    if faults:
        raise typer.Exit(1)


def _settings(stage: Stage, admin_token: str) -> Settings:
    """Short times, so that everything that can happen is seen within a minute."""
    return read_settings(
        admin_token=admin_token,
        database_url=stage.database_url,
        redis_url=stage.redis_url,
        secret_key=stage.secret_key,
        lease_seconds=30,
        review_after_seconds=REVIEW_AFTER_SECONDS,
        check_schedule="1",
        webhook_allow="127.0.0.0/8",
        webhook_allow_http=True,
        webhook_schedule_seconds="0,1,2,3,5,5,10,10,30,30,60,60,60",
        webhook_timeout_seconds=5,
        grace_seconds=20,
        drain_seconds=0,
    )


async def _play(
    stage: Stage, listener: socket.socket, base_url: str, wish: Wish | None, screen: Console
) -> list[str]:
    """Run the service and, beside it, the show. Returns what went wrong."""
    await migrate(stage.database_url)
    running = Running()
    with stopping_on_signals(running.stop):
        async with _pool(stage) as pool:
            handout = await _prepare_shop(pool, stage, base_url)
            settings = _settings(stage, handout.admin_token)
            async with asyncio.TaskGroup() as group:
                group.create_task(run(settings, Role(), listener, running))
                await running.ready.wait()
                show = _Show(stage, pool, handout, screen, running)
                try:
                    return await show.perform(wish)
                finally:
                    running.stop.set()


@contextlib.asynccontextmanager
async def _pool(stage: Stage) -> AsyncGenerator[Pool]:
    pool = await open_pool(PoolSettings(stage.database_url, max_size=4))
    try:
        yield pool
    finally:
        await pool.close()


async def _prepare_shop(pool: Pool, stage: Stage, base_url: str) -> Handout:
    """Seed the shop; keep the reseller, key and secret of an earlier run in this folder."""
    sealer = Sealer([stage.secret_key])
    await seed.seed_catalogue(pool, sealer, stage.simulator_url, DEALER_TIMEOUT_SECONDS)
    before = read_handout(stage.folder)
    if before is None:
        key = api_keys.generate("test")
        reseller_id = uuid7()
        await seed.seed_reseller(pool, reseller_id, key)
        before = Handout("", key.token, secrets.token_urlsafe(24), str(reseller_id), "", "", "")
    return Handout(
        base_url,
        before.api_key,
        before.admin_token,
        before.reseller_id,
        before.webhook_secret if before.receiver_url == stage.receiver_url else "",
        stage.simulator_url,
        stage.receiver_url,
    )


class _Show:
    """What the demo does once Jalur serves: register the receiver, send orders, tell, judge."""

    def __init__(
        self, stage: Stage, pool: Pool, handout: Handout, screen: Console, running: Running
    ) -> None:
        self._stage = stage
        self._pool = pool
        self._handout = handout
        self._screen = screen
        self._running = running
        self._reseller_id = UUID(handout.reseller_id)
        self._lane = lane_of(self._reseller_id)

    async def perform(self, wish: Wish | None) -> list[str]:
        """Do what was wished for. Returns what went wrong."""
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            await self._register_receiver(client)
            path = self._handout.write(self._stage.folder)
            self._screen.print(f"Jalur serves at {self._handout.base_url}; {path} tells the rest.")
            faults: list[str] = []
            if wish is not None:
                faults = await self._perform(client, wish)
            if wish is None or not wish.once:
                self._screen.print("Ctrl-C ends it.")
                await self._running.stop.wait()
        return faults if wish is not None and wish.once else []

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

    async def _perform(self, client: httpx.AsyncClient, wish: Wish) -> list[str]:
        started = time.monotonic()
        run_name = f"demo-{datetime.now(UTC):%Y%m%d%H%M%S}"
        sent = await self._send(run_name, wish.orders)
        if wish.once:
            await self._wait_for_the_end(client, sent, started)
        else:
            await asyncio.sleep(_FIRST_LOOK_SECONDS)
        outcomes = await self._outcomes(sent)
        await self._tell(outcomes)
        if not wish.once:
            return []
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

    async def _send(self, run_name: str, count: int) -> Sent:
        with self._screen.status(f"Sending {count} orders …") as status:
            return await send_orders(
                self._handout.base_url,
                self._handout.api_key,
                run_name,
                count,
                lambda done: status.update(f"Sending orders: {done} of {count}"),
            )

    async def _wait_for_the_end(
        self, client: httpx.AsyncClient, sent: Sent, started: float
    ) -> None:
        """Until the dealers and Jalur have nothing left to do, or the patience is over."""
        with self._screen.status("Waiting for the last answers …") as status:
            while time.monotonic() - started < _LONGEST_SECONDS:
                done = await report.simulator_is_done(client, self._stage.simulator_url)
                async with self._pool.acquire() as connection:
                    left = await lives.unfinished(connection)
                if done and left.nothing and not report.stuck(await self._outcomes(sent)):
                    return
                status.update(_what_is_left(left, simulator_is_done=done))
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
