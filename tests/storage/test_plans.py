"""Every hot statement finds its rows by key, whether its tables hold nothing or a day's trade.

The statements are taken from the functions that run them and explained under the pool's settings.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest

from app import postings
from app.embedded.postgres import RunningPostgres
from app.lifecycle.outset import EVER, FirstDue
from app.storage import (
    acceptance,
    attempts,
    callbacks,
    dealer_spend,
    deliveries,
    delivery_views,
    endpoints,
    entries,
    events,
    ledger,
    number_marks,
    open_numbers,
    order_views,
    orders,
    purchase_hours,
    ready,
    replay,
    reviews,
    rulings,
)
from app.storage.acceptance import Candidate
from app.storage.attempts import AttemptChange, NewAttempt
from app.storage.callbacks import Waiting
from app.storage.dealer_spend import Span
from app.storage.deliveries import TryResult
from app.storage.delivery_views import Wanted as WantedDeliveries
from app.storage.events import Place
from app.storage.ledger import Errand, News
from app.storage.number_marks import NewMark, NumberKey
from app.storage.open_numbers import OpenNumber
from app.storage.order_views import Wanted
from app.storage.orders import OrderChange
from app.storage.pool import Connection, PoolSettings, open_pool
from app.storage.ready import Ready
from app.storage.reviews import EndedReview
from app.storage.work_queues import WorkQueue
from app.words import NOT_REACHED, UNSENT
from tests.shops import NUMBER, SKU, submission
from tests.storage_fixtures import fresh_database

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
LANES = list(range(64))


def take(connection: Connection, wanted: list[tuple[str, int]]) -> Awaitable[Any]:
    """Take ready rows as a claim does."""
    return ready.take(connection, [(*each, 9) for each in wanted], LANES, UNSENT, NOT_REACHED)


MINUTE = timedelta(minutes=1)
CLAIM = UUID(int=9)
GROWING = {
    "orders",
    "order_references",
    "ready",
    "attempts",
    "ledger_entries",
    "wallets",
    "deliveries",
    "events",
    "callbacks",
    "webhook_endpoints",
    "number_marks",
    "open_numbers",
}

A_DAYS_TRADE = """
    insert into wallets (lane, reseller_id)
        select n % 64, md5('reseller' || n)::uuid from generate_series(1, 2000) n;
    insert into orders (lane, order_id, reseller_id, ref_id, sku, brand, customer_number, price,
                        retry_until, created_at, decision)
        select n % 64, md5('order' || n)::uuid, md5('reseller' || n % 2000)::uuid, 'r' || n, 'S',
               'tri', '0895', 6000, now(), now(), '{}' from generate_series(1, 20000) n;
    insert into order_references (lane, reseller_id, ref_id, order_id, fingerprint)
        select lane, reseller_id, ref_id, order_id, '' from orders;
    insert into ready (lane, order_id, attempt_no, dealer_id, not_before)
        select lane, order_id, 1, 'd' || lane % 5, now() from orders;
    insert into attempts (lane, order_id, attempt_no, dealer_id, route_id, dealer_sku, dealer_ref,
                          cost, max_price, asked_at, sent_at, due_at)
        select lane, order_id, 1, 'd' || lane % 5, 'r', 'S', order_id, 5000, 6000, now(), now(),
               case when lane < 8 then now() end from orders;
    insert into ledger_entries (lane, reseller_id, seq, kind, order_id, leg, available_delta,
                                reserved_delta, outside_delta, available_after, reserved_after)
        select lane, reseller_id, row_number() over (), 'reserve', order_id, 'reserve', -1, 1, 0,
               0, 1 from orders;
    insert into events (lane, reseller_id, event_seq, event_id, type, order_id, payload, created_at)
        select lane, reseller_id, row_number() over (), order_id, 'order.succeeded', order_id, '{}',
               now() from orders;
    insert into webhook_endpoints (lane, endpoint_id, reseller_id, url, secret_sealed)
        select lane, reseller_id, reseller_id, 'https://a.example', '' from wallets;
    insert into deliveries (lane, delivery_id, reseller_id, endpoint_id, event_id, event_seq,
                            order_id, due_at)
        select lane, event_id, reseller_id, reseller_id, event_id, event_seq, order_id,
               case when lane < 8 then now() end from events;
    insert into callbacks (lane, dealer_id, identity, callback_id, method, query, headers, body,
                           source_address, verdict)
        select lane, 'd', uuid_send(order_id), order_id, 'GET', '', '{}', '', '', 'applied'
        from orders;
    insert into number_marks (lane, day, customer_number, dealer_id, dealer_sku, counter,
                              order_lane, order_id, attempt_no)
        select lane, (now() at time zone interval '7 hours')::date - lane % 3, '0895' || order_id,
               'd', 'S', 1, lane, order_id, 1
        from orders;
    insert into open_numbers (lane, reseller_id, customer_number, sku, slot, order_id)
        select lane, reseller_id, customer_number, sku, order_id, order_id from orders;
"""


class Recorder:
    """Stands where a connection would, to learn which statements a storage function runs."""

    def __init__(self) -> None:
        self.statements: list[tuple[str, tuple[Any, ...]]] = []

    async def fetch(self, query: str, *values: Any) -> list[Any]:
        self.statements.append((query, values))
        return []

    async def fetchrow(self, query: str, *values: Any) -> None:
        self.statements.append((query, values))

    async def fetchval(self, query: str, *values: Any) -> None:
        self.statements.append((query, values))

    async def cursor(self, query: str, *values: Any) -> "Recorder":
        self.statements.append((query, values))
        self.fetch = self._fetch_none
        return self

    async def _fetch_none(self, _: Any, **_how: Any) -> list[Any]:
        return []

    def transaction(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def execute(self, query: str, *values: Any, **_how: Any) -> str:
        if not query.startswith("set "):
            self.statements.append((query, values))
        return f"UPDATE {len(KEYS)}"


Run = Callable[[Any], Awaitable[object]]


def order_id(number: int) -> UUID:
    return UUID(int=number)


def intent(lane: int, each: UUID) -> NewAttempt:
    return NewAttempt(lane, each, 1, "d1", "r", "S", each.hex[:22], 5000, 6000, CLAIM, None)


KEYS = [(number % 64, order_id(number)) for number in range(100)]
ATTEMPT_CHANGES = [
    AttemptChange(lane, each, 1, "pending", None, None, None, None, None, None, None, None)
    for lane, each in KEYS
]
ORDER_CHANGES = [
    OrderChange(lane, each, "processing", False, 0, None, None, None, 2, None, None)
    for lane, each in KEYS
]
TRIES = [
    TryResult(lane, each, each, CLAIM, "delivered", True, None, 200, None, each)
    for lane, each in KEYS
]
ENDED = [EndedReview(lane, each, None, "done") for lane, each in KEYS]
READY = [Ready(lane, each, 1, "d1", NOON) for lane, each in KEYS]
CALLBACK = Waiting(1, "d", b"i", "GET", "", "{}", b"", "", False, 1)
HELD = [OpenNumber(lane, each, NUMBER, SKU, each) for lane, each in KEYS]
CANDIDATES = [
    Candidate(submission(lane=lane, reseller_id=each).order, "d1", intent(lane, each))
    for lane, each in KEYS
]
MARKED = [NumberKey(lane, "0895", "d", "S") for lane in range(64)]
MARKS = [NewMark(*key[:1], NOON.date(), *key[1:], 2, 1, order_id(1), 1) for key in MARKED]
WEEK = purchase_hours.hours(NOON - timedelta(days=7), NOON)
MOVEMENTS = [ledger.movement(key, postings.capture(6000), order_id=key[1]) for key in KEYS]
NEWS = [News(lane, each, each, "order.succeeded", each, 2, "{}") for lane, each in KEYS]
ERRANDS = [Errand(lane, each, each, each, None) for lane, each in KEYS]


async def replayed(connection: Any) -> None:
    async for _ in replay.pages(connection, NOON, NOON + MINUTE):
        pass


async def marks_read(connection: Any) -> None:
    with suppress(KeyError):  # each key has a row, but where nothing is fetched
        await number_marks.today(connection, MARKED)


HOT: dict[str, Run] = {
    "numbers taken today are read": marks_read,
    "numbers are taken": lambda c: number_marks.insert(c, MARKS),
    "numbers of old days are dropped": lambda c: number_marks.drop_old(c, 1),
    "purchases that hold numbers are read": lambda c: attempts.fates(
        c, [(lane, each, 1) for lane, each in KEYS]
    ),
    "orders are accepted": lambda c: acceptance.accept(c, CANDIDATES, MINUTE),
    "money is moved and told": lambda c: ledger.write(c, MOVEMENTS, NEWS, ERRANDS, MINUTE, HELD),
    "numbers of closed orders are forgotten": lambda c: open_numbers.forget_closed(
        c, [each.order for each in CANDIDATES]
    ),
    "ready rows are taken": lambda c: take(c, [("d1", 30), ("d2", 5)]),
    "ready rows are deleted": lambda c: ready.delete(c, KEYS),
    "ready rows are moved": lambda c: ready.move(c, READY),
    "claims are read back": lambda c: attempts.claimed(c, CLAIM, KEYS),
    "due attempts are claimed": lambda c: attempts.claim_due(
        c, WorkQueue.WAITING, CLAIM, LANES, 64, MINUTE, {"d1": 3, "d2": 0}, 16, {"d1": 60.0}, NOON
    ),
    "attempts whose lease ran out are claimed": lambda c: attempts.claim_due(
        c, WorkQueue.LEASED, CLAIM, LANES, 64, MINUTE, {"d1": 3, "d2": 0}, 16, {"d1": 60.0}, NOON
    ),
    "the first due attempt is found": lambda c: attempts.first_due(c, WorkQueue.WAITING, NOON),
    "the first lease that ran out is found": lambda c: attempts.first_due(
        c, WorkQueue.LEASED, NOON
    ),
    "the oldest open attempt is found": attempts.oldest_unresolved_seconds,
    "the oldest open delivery is found": deliveries.oldest_undelivered_seconds,
    "references of dealers are found": lambda c: attempts.find_reference(c, 1, "d", "r"),
    "an attempt is asked about": lambda c: attempts.ask_now(c, 1, "d", "r", 60.0),
    "an order is found by its id alone": lambda c: orders.find_lane(c, order_id(1)),
    "an order's decisions are read": lambda c: orders.decisions(c, 1, order_id(1)),
    "an order in review is looked at": lambda c: reviews.standing(c, 1, order_id(1), 1),
    "rulings are written": lambda c: rulings.write(c, ATTEMPT_CHANGES, ORDER_CHANGES, KEYS),
    "endpoints are found": lambda c: endpoints.of_resellers(c, KEYS),
    "reviews are closed": lambda c: reviews.close_reviews(c, ENDED),
    "deliveries are claimed": lambda c: deliveries.claim_due(
        c, WorkQueue.WAITING, CLAIM, LANES, 64, MINUTE, {CLAIM: 0}, 16, NOON
    ),
    "deliveries whose lease ran out are claimed": lambda c: deliveries.claim_due(
        c, WorkQueue.LEASED, CLAIM, LANES, 64, MINUTE, {CLAIM: 0}, 16, NOON
    ),
    "the first due delivery is found": lambda c: deliveries.first_due(c, WorkQueue.WAITING, NOON),
    "the first try whose lease ran out is found": lambda c: deliveries.first_due(
        c, WorkQueue.LEASED, NOON
    ),
    "deliveries are claimed in turn": lambda c: deliveries.claim_in_turn(
        c, CLAIM, LANES, 10, MINUTE, {}, 64, NOON, [CLAIM]
    ),
    "endpoints that wait are listed": lambda c: deliveries.waiting_endpoints(c, CLAIM, 256),
    "parked deliveries are made due": lambda c: deliveries.unpark(c, LANES, 10, CLAIM),
    "deliveries are listed": lambda c: delivery_views.page(c, 1, CLAIM, WantedDeliveries(), 10),
    "deliveries are repeated": lambda c: delivery_views.replay(c, 1, CLAIM, [CLAIM], [CLAIM]),
    "tries are recorded": lambda c: deliveries.record(c, TRIES, MINUTE),
    "callbacks that wait are found": lambda c: callbacks.waiting(c, LANES, 1.0, 100),
    "callbacks are concluded": lambda c: callbacks.conclude(c, CALLBACK, "applied"),
    "a dealer's newest callbacks are listed": lambda c: callbacks.newest(c, "d", 20),
    "purchases of a week are read": lambda c: purchase_hours.bought(c, WEEK),
    "hours to be written are found": lambda c: purchase_hours.review(c, WEEK),
    "an hour is written": lambda c: purchase_hours.write(c, WEEK[0]),
    "what was spent since balances is counted": lambda c: dealer_spend.spent(
        c, [Span("d", NOON - MINUTE, NOON)], NOON
    ),
    "what a day's hours took is read": lambda c: dealer_spend.by_hour(c, WEEK[-24:]),
    "past orders are replayed": replayed,
    "events are read by cursor": lambda c: events.of_reseller(c, 1, CLAIM, 5, 100),
    "events of some types are read": lambda c: events.of_types(c, 1, CLAIM, 5, 100, ["a"]),
    "events of an order are read": lambda c: events.of_order(c, 1, CLAIM, 0, 100, None),
    "an event is found by its id": lambda c: events.find(c, 1, CLAIM, CLAIM),
    "events are read for all streams": lambda c: events.behind(
        c, [Place(lane, each, 5) for lane, each in KEYS], 50
    ),
    "orders are listed": lambda c: order_views.page(c, 1, CLAIM, None, 50),
    "orders are listed by what they are": lambda c: order_views.page_of(
        c, 1, CLAIM, None, 50, Wanted(sku="S", created_from=NOON, status="failed")
    ),
    "orders are listed by their references": lambda c: order_views.of_references(
        c, 1, CLAIM, ["r1", "r2"], Wanted()
    ),
    "entries are listed": lambda c: entries.page(
        c, 1, CLAIM, entries.Span(1, 9000), 50, ["deposit"], oldest_first=False
    ),
    "entries of an order are listed": lambda c: entries.of_order(c, 1, CLAIM, CLAIM, 100),
    "entries of a time are found": lambda c: entries.span(c, 1, CLAIM, NOON, NOON + MINUTE),
    "entries of a time are added up": lambda c: entries.sums(c, 1, CLAIM, entries.Span(5, 900)),
    "balances of a time are read": lambda c: entries.balances_after(c, 1, CLAIM, 900),
}


@pytest.fixture(scope="module", params=["empty", "busy"])
def dsn(
    request: pytest.FixtureRequest, postgres: RunningPostgres, migrated_template: str
) -> Iterator[str]:
    """A database without a row, and one with a day's trade that nobody has analysed yet."""
    with fresh_database(postgres.dsn, migrated_template) as address:
        if request.param == "busy":
            asyncio.run(execute(address, A_DAYS_TRADE))
        yield address


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def recorded(run: Run) -> list[tuple[str, tuple[Any, ...]]]:
    recorder = Recorder()
    await run(recorder)
    assert recorder.statements
    return recorder.statements


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes_of(part)


async def plans(dsn: str, run: Run) -> list[list[dict[str, Any]]]:
    """The nodes of the plan of every statement that a storage function runs."""
    pool = await open_pool(PoolSettings(dsn, max_size=2))
    try:
        async with pool.acquire() as connection:
            return [
                await explained(connection, "explain (format json)", query, values)
                for query, values in await recorded(run)
            ]
    finally:
        await pool.close()


async def explained(
    connection: Connection, how: str, query: str, values: tuple[Any, ...]
) -> list[dict[str, Any]]:
    document = orjson.loads(await connection.fetchval(f"{how} {query}", *values))
    return list(nodes_of(document[0]["Plan"]))


def scanned_whole(nodes: list[dict[str, Any]]) -> list[str]:
    """Growing tables that a plan reads from end to end."""
    return [
        f"{node['Node Type']} on {node['Relation Name']} by {node.get('Index Name')}"
        f" where {node.get('Index Cond')}"
        for node in nodes
        if node.get("Relation Name") in GROWING
        and (node["Node Type"] == "Seq Scan" or not _bounded(node))
    ]


def _bounded(node: dict[str, Any]) -> bool:
    """Whether an index scan has a key besides the lane, or an order that a limit cuts short."""
    ordered = node.get("Index Name", "") in ORDERED
    scan = node["Node Type"].startswith("Index")
    keyed = [each for each in node.get("Index Cond", "").split(" AND ") if "(lane =" not in each]
    return not scan or any(keyed) or ordered


ORDERED = {
    "attempts_leased",
    "attempts_waiting",
    "deliveries_leased",
    "deliveries_parked",
    "deliveries_waiting",
    "callbacks_waiting",
}
"""Partial indexes that hold only what is to be done, read in order of time."""


@pytest.mark.parametrize("what", HOT)
async def test_hot_statement_reads_by_key_when(dsn: str, what: str):
    for nodes in await plans(dsn, HOT[what]):
        assert scanned_whole(nodes) == []


@pytest.fixture
def vacuumed(postgres: RunningPostgres, migrated_template: str) -> Iterator[str]:
    """A database whose statistics say that it is empty, as vacuum finds the queue now and then."""
    with fresh_database(postgres.dsn, migrated_template) as address:
        asyncio.run(execute(address, "vacuum analyze"))
        yield address


NESTED = """
    load 'auto_explain';
    set auto_explain.log_min_duration = 0;
    set auto_explain.log_nested_statements = on;
    set auto_explain.log_format = 'json';
    set client_min_messages = 'log';
"""


async def plans_of_locking(dsn: str) -> list[list[dict[str, Any]]]:
    """The nodes of the plans of what a function of the database runs, told by the server."""
    told: list[str] = []
    pool = await open_pool(PoolSettings(dsn, role="", max_size=2))
    try:
        async with pool.acquire() as connection:
            await connection.execute(NESTED)
            connection.add_log_listener(hear := lambda _, message: told.append(message.message))
            await rulings.lock(connection, KEYS)
            connection.remove_log_listener(hear)
    finally:
        await pool.close()
    found = [list(nodes_of(orjson.loads(each[each.index("{") :])["Plan"])) for each in told]
    read = {node.get("Relation Name") for nodes in found for node in nodes}
    assert {"orders", "ready", "attempts"} <= read
    return found


async def test_what_is_to_be_settled_is_locked_by_key(dsn: str):
    for nodes in await plans_of_locking(dsn):
        assert scanned_whole(nodes) == []


async def test_locking_as_planned_while_tables_were_empty_goes_by_key(vacuumed: str):
    for nodes in await plans_of_locking(vacuumed):
        assert scanned_whole(nodes) == []


@pytest.mark.parametrize("what", ["orders are accepted", "ready rows are taken"])
async def test_plan_made_while_the_queue_was_empty_serves_a_long_one(vacuumed: str, what: str):
    # Wallets are left out: a shop has resellers before it has orders.
    for nodes in await plans(vacuumed, HOT[what]):
        assert [each for each in scanned_whole(nodes) if "wallets" not in each] == []


@pytest.mark.parametrize("what", ["due attempts are claimed", "deliveries are claimed"])
async def test_what_is_due_is_read_in_order_of_time(dsn: str, what: str):
    for nodes in await plans(dsn, HOT[what]):
        assert [node for node in nodes if node.get("Index Name") in ORDERED]


async def test_backlog_is_never_sorted(dsn: str):
    for nodes in await plans(dsn, HOT["ready rows are taken"]):
        assert not [node for node in nodes if "Sort" in node["Node Type"]]


async def test_claim_of_a_few_reads_a_few_of_a_long_backlog(dsn: str):
    statements = await recorded(lambda c: take(c, [("d1", 10)]))
    pool = await open_pool(PoolSettings(dsn, max_size=2))
    try:
        async with pool.acquire() as connection, connection.transaction():
            nodes = await explained(connection, "explain (analyze, format json)", *statements[0])
    finally:
        await pool.close()
    read = [
        node["Actual Rows"] * node["Actual Loops"]
        for node in nodes
        if node.get("Relation Name") == "ready"
    ]
    assert sum(read) <= 20


FINISHED = """
    insert into attempts (lane, order_id, attempt_no, dealer_id, route_id, dealer_sku, dealer_ref,
                          cost, max_price, asked_at, sent_at, due_at, claim_id)
        select n % 64, md5('late' || n)::uuid, 1, 'd1', 'r', 'S', 'late' || n, 5000, 6000, now(),
               now(), now() - interval '100 seconds' + n * interval '5 milliseconds',
               case when n % 2 = 0 then gen_random_uuid() end
        from generate_series(1, 40000) n;
    insert into deliveries (lane, delivery_id, reseller_id, endpoint_id, event_id, event_seq,
                            order_id, due_at, claim_id)
        select lane, order_id, order_id, order_id, order_id, 1, order_id, due_at, claim_id
        from attempts
        where dealer_ref like 'late%';
"""
SNAPSHOT = "begin isolation level repeatable read; select from attempts limit 1"
CLEARED = """
    update attempts set due_at = null, claim_id = null;
    update deliveries set due_at = null, claim_id = null;
"""
LOOKS: dict[str, tuple[FirstDue, Callable[[WorkQueue, datetime], Run]]] = {
    "attempts": (
        attempts.first_due,
        lambda queue, since: (
            lambda c: attempts.claim_due(
                c, queue, CLAIM, LANES, 64, MINUTE, {"d1": 3}, 16, {}, since
            )
        ),
    ),
    "deliveries": (
        deliveries.first_due,
        lambda queue, since: (
            lambda c: deliveries.claim_due(c, queue, CLAIM, LANES, 64, MINUTE, {}, 16, since)
        ),
    ),
}


@pytest.fixture
def held(postgres: RunningPostgres, migrated_template: str) -> Iterator[str]:
    """A database where much was done while somebody holds a snapshot from before: half of it was
    due already, half was to be due after a lease."""

    async def work(dsn: str, done: asyncio.Event, over: asyncio.Event) -> None:
        holder = await asyncpg.connect(dsn)
        await execute(dsn, FINISHED)
        await holder.execute(SNAPSHOT)
        await execute(dsn, CLEARED)
        await execute(dsn, "vacuum attempts, deliveries")
        done.set()
        await over.wait()
        await holder.close()

    with fresh_database(postgres.dsn, migrated_template) as address, asyncio.Runner() as runner:
        loop = runner.get_loop()
        done, over = asyncio.Event(), asyncio.Event()
        task = loop.create_task(work(address, done, over))
        loop.run_until_complete(done.wait())
        yield address
        over.set()
        loop.run_until_complete(task)


@pytest.fixture
def without_parked(postgres: RunningPostgres, migrated_template: str) -> Iterator[str]:
    """A database without the index of what is parked."""
    with fresh_database(postgres.dsn, migrated_template) as address:
        asyncio.run(execute(address, "drop index deliveries_parked"))
        yield address


async def test_what_is_parked_is_looked_for_in_no_other_index(without_parked: str):
    """Where another one fits too it may be taken, full of what is done as it may be."""
    pool = await open_pool(PoolSettings(without_parked, max_size=2))
    try:
        async with pool.acquire() as connection, connection.transaction():
            ((query, values),) = await recorded(
                lambda c: deliveries.unpark(c, LANES, 10, UUID(int=0))
            )
            nodes = await explained(connection, "explain (format json)", query, values)
    finally:
        await pool.close()
    found = {node.get("Index Name") for node in nodes if node.get("Relation Name") == "deliveries"}
    assert found <= {None, "deliveries_pkey", "deliveries_of_an_endpoint"}


@pytest.mark.parametrize("queue", WorkQueue)
@pytest.mark.parametrize("table", LOOKS)
async def test_a_look_walks_over_nothing_that_was_done_while_a_snapshot_is_held(
    held: str, table: str, queue: WorkQueue
):
    first_due, look = LOOKS[table]
    pool = await open_pool(PoolSettings(held, max_size=2))
    try:
        async with pool.acquire() as connection, connection.transaction():
            moment = await first_due(connection, queue, EVER)
            read: dict[datetime, list[int]] = {}
            for since in (EVER, moment):
                for run in (look(queue, since), partial(first_due, queue=queue, since=since)):
                    ((query, values),) = await recorded(run)
                    (node, *_) = await explained(
                        connection, "explain (analyze, buffers, format json)", query, values
                    )
                    pages = node["Shared Hit Blocks"] + node["Shared Read Blocks"]
                    read.setdefault(since, []).append(pages)
    finally:
        await pool.close()
    assert all(later * 20 < ever for later, ever in zip(read[moment], read[EVER], strict=True))
