"""Serving: settings become an engine and an HTTP side, which run until a signal stops them."""

import asyncio
import contextlib
import gc
import math
import os
import resource
import signal
import socket
from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

import structlog
import typer
import uvicorn
import uvloop
from starlette.types import ASGIApp

from app import logs
from app.cli.processes import own_command, run_processes
from app.errors import ConfigurationError
from app.http.api import Api, ApiLimits
from app.http.event_feed import FeedLimits
from app.http.intake import IntakeLimits
from app.http.limits import DefaultRates
from app.http.server import build_app, wire_protocol
from app.lifecycle.deliver import Persistence
from app.lifecycle.execute import Lease
from app.lifecycle.settle import Patience
from app.metrics import Metrics
from app.outbound.addresses import AddressPolicy
from app.settings import Settings, read_settings
from app.storage.batches import BatchLimits
from app.storage.pool import PoolSettings
from app.workers.engine import Engine, EngineSettings, start_engine

log = structlog.get_logger()

_YOUNG_OBJECTS = 250_000
"""More than the orders of a queue that is as deep as intake lets it become: each is some dozens."""

_CUT_OFF_SECONDS = 10.0
"""So long after its grace a stop that does not end is ended. Nothing depends on its end: what was
under way is taken up as after any other death."""

_FIRST_CONNECTIONS = 8
"""To the database, as many as are soon in use: on a busy machine each takes so long to open that
the first requests would give up waiting for one."""

_ACCEPTS_A_TURN = 16
"""Connections taken up in one turn of the event loop: uvloop takes one a listener, so that under
load, when turns are long, callers who connect would wait before they are even seen."""

_KEEP_ALIVE_SECONDS = 75
"""Longer than load balancers keep an idle connection, commonly 60 s: whoever closes it first must
be the one who would send on it, or a request meets the close."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a process does: answer HTTP, work on orders, or both."""

    http: bool = True
    work: bool = True


@dataclass(slots=True)
class Running:
    """A service that runs. `ready` is set once it serves; setting `stop` ends it gracefully."""

    ready: asyncio.Event = field(default_factory=asyncio.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    engine: Engine | None = None


def engine_settings(settings: Settings) -> EngineSettings:
    """The engine's part of the settings. Raises ConfigurationError."""
    if settings.database_url is None:
        raise ConfigurationError(
            "DATABASE_URL is missing: the PostgreSQL to use, postgresql://user:password@host/name; "
            "`jalur demo` brings its own"
        )
    policy = AddressPolicy(settings.webhook_allow, settings.webhook_allow_http)
    return EngineSettings(
        PoolSettings(
            settings.database_url,
            settings.database_role,
            min_size=_FIRST_CONNECTIONS,
            statement_cache_size=settings.statement_cache_size,
        ),
        settings.redis_url,
        settings.require_secret_keys(),
        settings.lane_groups,
        Lease(settings.lease_seconds),
        Patience(timedelta(seconds=settings.review_after_seconds), settings.check_schedule),
        Persistence(
            settings.webhook_schedule_seconds,
            settings.webhook_timeout_seconds,
            endpoint_concurrency=settings.endpoint_concurrency,
            disable_after=timedelta(seconds=settings.webhook_disable_after_seconds),
            logged_a_second=settings.webhook_log_per_second,
        ),
        policy,
        BatchLimits(waiting=settings.accept_queue_limit, gap_seconds=0.005, enough=32),
        settings.grace_seconds,
        (settings.poll_min_seconds, settings.poll_max_seconds),
        correction_seconds=settings.share_correction_seconds,
        retry_for_seconds=settings.retry_for_seconds,
        balance_interval_seconds=settings.balance_interval_seconds,
        price_rise_tolerance=settings.price_rise_tolerance,
        price_rise_mute_seconds=settings.price_rise_mute_seconds,
        webhook_log_days=settings.webhook_log_days,
        simulator_url=settings.simulator_url,
    )


def listen(host: str, port: int) -> socket.socket:
    """Bind the address before anything else starts. Raises ConfigurationError."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror}; free the port or choose another "
            "with JALUR_PORT or --port (a worker's: JALUR_METRICS_PORT)"
        ) from error


def _several_of_each(listeners: Sequence[socket.socket]) -> list[socket.socket]:
    """Every listener as several sockets of one queue."""
    twins = [each.dup() for each in listeners for _ in range(_ACCEPTS_A_TURN - 1)]
    return [*listeners, *twins]


def run_service(settings: Settings, role: Role) -> None:
    """Run one process until SIGTERM or SIGINT. Raises JalurError when it cannot start."""
    uvloop.run(_run_service(settings, role))


async def _run_service(settings: Settings, role: Role) -> None:
    port = settings.port if role.http else settings.metrics_port
    listeners = [] if port is None else [listen(settings.host, port)]
    running = Running()
    with stopping_on_signals(running.stop):
        await _run_to_the_end(settings, role, listeners, running)


async def _run_to_the_end(
    settings: Settings, role: Role, listeners: Sequence[socket.socket], running: Running
) -> None:
    """Run as all there is in this process."""
    async with _ending_in_time(running.stop, settings.grace_seconds + _CUT_OFF_SECONDS):
        await run(settings, role, listeners, running)


async def run(
    settings: Settings, role: Role, listeners: Sequence[socket.socket], running: Running
) -> None:
    """Run a service on the current event loop until `running.stop` is set.

    It answers at every one of the `listeners`; without any it only works.
    """
    _allow_open_files()
    metrics = Metrics()
    engine = await start_engine(engine_settings(settings), metrics)
    running.engine = engine
    try:
        api = _api(settings, engine, metrics)
        app = build_app(api, for_resellers=role.http, documented=settings.api_docs)
        protocol = wire_protocol(api if role.http else None, settings.trusted_proxies)
        server = _server(settings, app, protocol, running.ready) if listeners else None

        async def serve() -> None:
            if server is None:
                return
            async with asyncio.TaskGroup() as group:
                stopping = _stop_serving(server, api, running.stop, settings.drain_seconds)
                group.create_task(stopping)
                beside = (
                    api.authenticator,
                    api.operators,
                    api.doors,
                    api.feed,
                    api.intake,
                    api.meter,
                    api.key_uses,
                )
                running_on = [group.create_task(each.run()) for each in beside]
                await server.serve(sockets=_several_of_each(listeners))
                for each in running_on:
                    each.cancel()
                await api.key_uses.write(everything=True)
                running.stop.set()
            await api.meter.leave()

        _calm_collector()
        log.info(
            "service.started",
            http=role.http,
            work=role.work,
            installation_id=str(engine.installation_id),
        )
        await engine.run(running.stop, work=role.work, serve=serve if server else None)
        log.info("service.stopped")
    finally:
        await engine.close()


def _api(settings: Settings, engine: Engine, metrics: Metrics) -> Api:
    return Api(
        pool=engine.pool,
        router=engine.router,
        acceptor=engine.acceptor,
        settler=engine.settler,
        receiver=engine.receiver,
        sealer=engine.sealer,
        metrics=metrics,
        desk=engine.desk,
        address_policy=engine.settings.address_policy,
        limits=ApiLimits(
            body_bytes=settings.max_body_bytes,
            intake=IntakeLimits(settings.backlog_limit, settings.queue_target_seconds),
            retry_for=timedelta(seconds=settings.retry_for_seconds),
            feed=FeedLimits(streams=settings.stream_limit),
            rates=DefaultRates(settings.orders_rate, settings.reads_rate),
            auth_failures=settings.auth_failures_rate[0],
            in_flight=settings.reseller_in_flight,
        ),
        hints=engine.hints,
        redis_url=engine.settings.redis_url,
        installation_id=engine.installation_id,
        admin_token=settings.admin_token.get_secret_value() if settings.admin_token else None,
        backlog=lambda: engine.upkeep.backlog,
        queues=engine.queues,
    )


def _allow_open_files() -> None:
    """Have as many files open as the system lets this process, not as few as a shell begins with:
    each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # then with as few
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _calm_collector() -> None:
    """Look for cycles among what is new, and less often: what stands now stays to the end.

    Orders leave no cycles behind; looking for them at Python's own pace took a tenth of the time,
    and looking through a deep queue stands still for 40 to 60 ms, just when all is late.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the service decides when serving ends."""

    def __init__(self, config: uvicorn.Config, ready: asyncio.Event) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self._ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals alone."""
        yield


def _server(
    settings: Settings, app: ASGIApp, protocol: type[asyncio.Protocol], ready: asyncio.Event
) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            loop="none",
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=[str(network) for network in settings.trusted_proxies],
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=math.ceil(settings.grace_seconds - settings.drain_seconds),
        ),
        ready,
    )


@contextlib.asynccontextmanager
async def _ending_in_time(stop: asyncio.Event, seconds: float) -> AsyncGenerator[None]:
    """End the process, come what may, so long after its stop began: who told it may be gone."""

    async def cut_off() -> None:
        await stop.wait()
        await asyncio.sleep(seconds)
        log.error("service.cut_off", after_seconds=seconds)
        logs.flush()
        os._exit(1)

    cutting_off = asyncio.create_task(cut_off())
    try:
        yield
    finally:
        cutting_off.cancel()


async def _stop_serving(
    server: _Server, api: Api, stop: asyncio.Event, drain_seconds: float
) -> None:
    """Say "not ready" and serve on until a load balancer has noticed; only then close the
    listener and finish the requests under way."""
    await stop.wait()
    api.draining.set()
    await asyncio.sleep(drain_seconds)
    server.should_exit = True


@contextlib.contextmanager
def stopping_on_signals(stop: asyncio.Event) -> Generator[None]:
    """Set `stop` at SIGTERM or SIGINT; a second one ends the process at once."""
    loop = asyncio.get_running_loop()

    def heed(number: signal.Signals) -> None:
        if stop.is_set():
            logs.flush()
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        log.info("service.stopping", signal=number.name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, heed, number)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _read(**stated: object) -> Settings:
    settings = read_settings(**{name: value for name, value in stated.items() if value is not None})
    logs.configure(settings.log_format, settings.log_level)
    return settings


async def _run_child(settings: Settings, inherited: str) -> None:
    """Serve on an inherited socket until a signal comes, or the parent is gone."""
    fd, life = (int(part) for part in inherited.split(","))
    listeners = [socket.socket(fileno=fd)]
    if settings.metrics_port is not None:
        listeners.append(listen(settings.host, settings.metrics_port))
    running, loop = Running(), asyncio.get_running_loop()

    def parent_is_gone() -> None:
        loop.remove_reader(life)  # else the loop would be told so without end
        running.stop.set()

    with stopping_on_signals(running.stop):
        loop.add_reader(life, parent_is_gone)
        try:
            await _run_to_the_end(settings, Role(), listeners, running)
        finally:
            loop.remove_reader(life)


Host = Annotated[str | None, typer.Option(help="Where to listen; JALUR_HOST otherwise.")]
Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Where to listen; JALUR_PORT otherwise.")
]


Processes = Annotated[
    int | None, typer.Option(min=1, max=64, help="How many; JALUR_PROCESSES otherwise.")
]
Inherited = Annotated[str | None, typer.Option(hidden=True)]


def serve_command(
    host: Host = None, port: Port = None, processes: Processes = None, inherited: Inherited = None
) -> None:
    """Serve the API and work on orders; needs DATABASE_URL."""
    settings = _read(host=host, port=port, processes=processes)
    if inherited is not None:
        uvloop.run(_run_child(settings, inherited))
    elif settings.processes == 1:
        run_service(settings, Role())
    else:
        engine_settings(settings)  # what is wrong is said once, by this process
        with listen(settings.host, settings.port) as listener:
            count, port = settings.processes, settings.metrics_port
            raise typer.Exit(run_processes(listener, own_command(), count, port))


def api_command(host: Host = None, port: Port = None) -> None:
    """Serve the API only; `jalur worker` elsewhere does the work."""
    run_service(_read(host=host, port=port), Role(work=False))


def worker_command() -> None:
    """Work on orders only; JALUR_METRICS_PORT opens /metrics and the probes, nothing else."""
    run_service(_read(), Role(http=False))
