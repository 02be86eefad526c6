"""The shop under load: PostgreSQL with its catalogue, a thousand resellers with money, a webhook
endpoint each. It is made once; every scenario begins with a copy of it."""

import contextlib
import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import uvloop
from uuid_utils.compat import uuid7

from app.administration.money import deposit
from app.administration.operator import Operator
from app.cli.demo import seed
from app.lifecycle.deliver import secret_context
from app.sealing import Sealer
from app.signatures import new_secret
from app.storage import api_keys, endpoints, resellers
from app.storage.endpoints import NewEndpoint
from app.storage.migrate import migrate
from app.storage.pool import Connection, Pool, PoolSettings, open_pool
from app.storage.resellers import NewReseller

DEALER_TIMEOUT_SECONDS = 30.0
DEALER_CONCURRENCY = 256
"""Enough that an order seldom waits for a place: places are measured by nobody here."""
_CALLBACK_SECONDS = 0.2
_DEPOSIT_RUPIAH = 1_000_000_000_000
_DEALER_BALANCE_RUPIAH = 1_000_000_000_000_000
"""Our deposit at each dealer: more than any load spends."""
_TEMPLATE = "jalur_load_template"
_DATABASE = "jalur_load"
_ANALYZE_WHAT_HAS_ROWS = """
do $$
declare kept record;
begin
    for kept in
        select relid::regclass as name from pg_stat_user_tables where pg_relation_size(relid) > 0
    loop
        execute format('analyze %s', kept.name);
    end loop;
end $$
"""
"""As autovacuum would; a table that nothing was ever written to has no statistics."""
_FILL_THE_LOG = """
select pg_logical_emit_message(false, 'load', repeat('x', (1 << 20) - 1000))
from generate_series(1, 1024)
"""
"""A server that has run for a while writes over old files of its log; to make a new one takes
longer than to write it, and all who commit wait meanwhile. As many as `min_wal_size` has kept."""

_FLUSH_SOON = "alter system set backend_flush_after = '512kB'"
"""As docs/operating.md asks of a server: what is written in bulk, by the vacuum too, goes to the
disk little by little, and not in bursts that commits wait for."""


@dataclass(frozen=True, slots=True)
class Buyer:
    """A reseller as the load client and the receiver know it."""

    token: str = field(repr=False)
    webhook_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DealerManner:
    """How the dealers take what they are sent."""

    answer_seconds: float = 0.0
    """How long each answer takes."""
    places: int = DEALER_CONCURRENCY
    """Purchases that each of them takes at once."""
    timeout_seconds: float = DEALER_TIMEOUT_SECONDS
    """How long Jalur waits for an answer."""

    @property
    def timing(self) -> dict[str, float]:
        """What the simulator is told: an answer that is late comes after the time-out."""
        return {
            "latency_seconds": self.answer_seconds,
            "late_answer_seconds": self.timeout_seconds + 1.0,
            "callback_seconds": _CALLBACK_SECONDS,
        }


@dataclass(frozen=True, slots=True)
class _NewBuyer:
    reseller_id: UUID
    buyer: Buyer


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything will listen: base URLs without a slash at the end."""

    service: str
    simulator: str
    receiver: str


async def create(
    server_dsn: str, secret_key: str, addresses: Addresses, buyers: int
) -> list[Buyer]:
    """Make the shop that every scenario copies."""
    await _execute(server_dsn, f"create database {_TEMPLATE}")
    dsn = _of_database(server_dsn, _TEMPLATE)
    await migrate(dsn)
    sealer = Sealer([secret_key])
    pool = await open_pool(PoolSettings(dsn, max_size=2))
    try:
        await seed.seed_catalogue(
            pool, sealer, addresses.simulator, DEALER_TIMEOUT_SECONDS, DEALER_CONCURRENCY
        )
        made = await _create_buyers(pool, sealer, addresses.receiver, buyers)
    finally:
        await pool.close()
    await _execute(dsn, _ANALYZE_WHAT_HAS_ROWS)
    await _execute(dsn, _FILL_THE_LOG)
    await _execute(dsn, _FLUSH_SOON)
    await _execute(dsn, "select pg_reload_conf()")
    return made


@contextlib.contextmanager
def copy(
    server_dsn: str, manner: DealerManner | None = None, name: str = _DATABASE
) -> Generator[str]:
    """A fresh copy of the shop while it is needed; its address, as its owner."""
    uvloop.run(_execute(server_dsn, f"create database {name} template {_TEMPLATE}"))
    if manner is not None:
        uvloop.run(_set_manner(_of_database(server_dsn, name), manner))
    # What was written before must not be flushed to disk at this scenario's expense.
    uvloop.run(_execute(server_dsn, "checkpoint"))
    try:
        yield _of_database(server_dsn, name)
    finally:
        uvloop.run(_execute(server_dsn, f"drop database {name} with (force)"))


def write_simulator_config(
    path: Path, addresses: Addresses, manner: DealerManner | None = None
) -> None:
    """The simulated dealers; none of them waits before it answers, unless its manner says so."""
    timing = manner.timing if manner is not None else {}
    config = seed.simulator_config(addresses.service, timing, _DEALER_BALANCE_RUPIAH)
    path.write_text(json.dumps(config))


def write_secrets(path: Path, buyers: Sequence[Buyer]) -> None:
    """The endpoints' secrets by number, for the receiver."""
    path.touch(0o600)
    path.write_text(json.dumps([buyer.webhook_secret for buyer in buyers]))


async def _create_buyer(connection: Connection, sealer: Sealer, hook_url: str) -> _NewBuyer:
    """A reseller with a key and an endpoint, and no money yet."""
    reseller_id, endpoint_id = uuid7(), uuid7()
    key, secret = api_keys.generate(), new_secret()
    lane = await resellers.create(connection, NewReseller(reseller_id, "Load"))
    await api_keys.create(connection, key, lane, reseller_id)
    sealed = sealer.seal(secret, secret_context(endpoint_id))
    endpoint = NewEndpoint(lane, endpoint_id, reseller_id, hook_url, None, sealed)
    await endpoints.create(connection, endpoint)
    return _NewBuyer(reseller_id, Buyer(key.token, secret))


async def _create_buyers(pool: Pool, sealer: Sealer, receiver_url: str, count: int) -> list[Buyer]:
    async with pool.acquire() as connection, connection.transaction():
        made = [
            await _create_buyer(connection, sealer, f"{receiver_url}/hooks/{number}")
            for number in range(count)
        ]
    by = Operator("loadtests", "localhost")
    for new in made:
        await deposit(pool, by, str(new.reseller_id), _DEPOSIT_RUPIAH, "first deposit")
    return [new.buyer for new in made]


def _of_database(dsn: str, name: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


async def _set_manner(dsn: str, manner: DealerManner) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "update dealers set concurrency = $1, timeout_seconds = $2",
            manner.places,
            manner.timeout_seconds,
        )
    finally:
        await connection.close()


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
