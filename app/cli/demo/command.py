"""`jalur demo`: everything on one machine, out of the installed package, nothing to set up.

Embedded PostgreSQL and Valkey, simulated dealers that misbehave, a webhook receiver that verifies,
and the service itself. It sends orders, shows what became of them, and goes on serving.
"""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from uuid_utils.compat import uuid7

from app import logs
from app.cli.demo import seed
from app.cli.demo.live import can_show
from app.cli.demo.show import Show, Wish
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
from app.storage import api_keys
from app.storage.migrate import migrate
from app.storage.pool import Pool, PoolSettings, open_pool

DEALER_TIMEOUT_SECONDS = 12.0
REVIEW_AFTER_SECONDS = 30.0
GRACE_SECONDS = 20.0
_STOPPING = (
    f"Stopping: what dealers are being asked is waited for, at most {GRACE_SECONDS:.0f} s; "
    "a second Ctrl-C does not wait."
)
SIMULATOR_SECONDS = {
    "callback_seconds": 1.0,
    "late_success_seconds": 3.0,
    "reversal_seconds": 3.0,
    "late_answer_seconds": 15.0,
    "slow_answer_seconds": 10.0,
    "late_serial_seconds": 2.0,
}


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
    plain: Annotated[
        bool, typer.Option("--plain", help="Lines instead of the live view, also on a terminal.")
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
    live = not plain and not as_json and can_show(screen)
    screen.print(f"Starting PostgreSQL, Valkey, the dealer simulator and Jalur in {folder} …")
    config = seed.simulator_config(base_url, SIMULATOR_SECONDS)
    with (
        (folder / "jalur.log").open("a") as log,
        set_stage(folder, config, choose_ports(folder), programs) as stage,
    ):
        logs.configure("json", "info", log)
        faults = uvloop.run(_play(stage, listener, base_url, wish, screen, live=live))
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
        grace_seconds=GRACE_SECONDS,
        drain_seconds=0,
    )


async def _play(
    stage: Stage,
    listener: socket.socket,
    base_url: str,
    wish: Wish | None,
    screen: Console,
    *,
    live: bool,
) -> list[str]:
    """Run the service and, beside it, the show. Returns what went wrong."""
    await migrate(stage.database_url)
    running = Running()
    with stopping_on_signals(running.stop):
        async with _pool(stage) as pool:
            handout = await _prepare_shop(pool, stage, base_url)
            settings = _settings(stage, handout.admin_token)
            async with asyncio.TaskGroup() as group:
                group.create_task(run(settings, Role(), [listener], running))
                await running.ready.wait()
                show = Show(stage, pool, handout, screen, running, live=live)
                try:
                    return await show.perform(wish)
                finally:
                    if running.stop.is_set():
                        screen.print(_STOPPING)
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
        key = api_keys.generate()
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
