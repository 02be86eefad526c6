"""A shop that has traded for months: finished orders written into the tables by the million.

Every table gets the rows that real orders leave, with all constraints and indexes in force and in
the order of time, and changed as orders are when they finish, so that tables and indexes grow as
they do in service: orders, references, purchases, entries, events, webhooks, what came back from
these, callbacks. Wallets move with their entries:
`jalur ledger verify` finds nothing. Of a hundred orders 92 are bought at once, five by a second
dealer, three fail; a tenth of all are the first buyer's, the rest is spread over everybody. One in
ten has a callback.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import orjson

from app.cli.demo.seed import BRANDS, DENOMINATIONS, price
from app.lifecycle.execute import Lease
from app.lifecycle.route import Router
from app.references import dealer_reference
from app.sealing import Sealer
from app.storage import purchase_hours
from app.storage.delivery_tries import SLOTS
from app.storage.pool import Connection, PoolSettings, open_pool
from dealers.contract import ReferenceRules
from routing.choose import Inquiry, as_record
from schemas.orders import order_document

MONTHS = timedelta(days=120)
"""Over how long a time the orders are spread."""
_UNTIL = timedelta(hours=1)
"""How long before now the last of them was."""
_TRIES_KEPT = timedelta(days=7)
_HOURS_KEPT = timedelta(days=8)
_AT_ONCE = 50_000
_STATEMENT_SECONDS = 3600.0
_FAILED, _SECOND = 3, 8
"""Of a hundred: so many fail, and those up to the second number take a second dealer."""
_FIRST_BUYERS = 0.1
_METADATA = '{"cashier":"7","terminal":"T-123","channel":"android-4.2"}'


class _Buyer(NamedTuple):
    lane: int
    reseller_id: UUID
    endpoint_id: UUID


class _Key(NamedTuple):
    """What tells one order from the next; the other columns follow from it."""

    n: int
    lane: int
    reseller_id: UUID
    endpoint_id: UUID
    product: int
    course: str
    order_id: UUID
    event_id: UUID
    delivery_id: UUID
    dealer_ref: str
    second_ref: str
    customer_number: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class _Trade:
    """The shop as the orders need it."""

    buyers: Sequence[_Buyer]
    decisions: Sequence[Mapping[str, Any]]
    """How a dealer is chosen, by product."""


async def add(
    dsn: str, secret_key: str, orders: int, tell: Callable[[int, float], None] | None = None
) -> None:
    """Write so many orders into a furnished shop without any, oldest first; then as autovacuum
    would leave it. `tell` hears now and then how many are written, and the seconds since."""
    trade = await _look(dsn, secret_key)
    begun, until = time.monotonic(), datetime.now(UTC) - _UNTIL
    connection = await asyncpg.connect(dsn, command_timeout=_STATEMENT_SECONDS)
    try:
        await connection.execute(_SESSION)
        await connection.execute(_PRODUCTS)
        await connection.copy_records_to_table(
            "history_products", records=list(_products(trade.decisions))
        )
        for first in range(0, orders, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, orders))
            keys = list(_keys(trade.buyers, numbers, orders, until))
            await _write(connection, keys)
            if tell is not None:
                tell(numbers.stop, time.monotonic() - begun)
        await _add_up_hours(connection, until)
        await connection.execute("vacuum (analyze)")
        await connection.execute("checkpoint")
    finally:
        await connection.close()


async def _look(dsn: str, secret_key: str) -> _Trade:
    pool = await open_pool(PoolSettings(dsn, role="", max_size=2))
    try:
        buyers = await pool.fetch(
            "select lane, reseller_id, endpoint_id from webhook_endpoints order by reseller_id"
        )
        router = Router(Sealer([secret_key]), time.monotonic, Lease().longest_call_seconds)
        await router.refresh(pool)
        now = datetime.now(UTC)
        decisions = [
            as_record(router.choose(Inquiry(sku, brand, None, price(denomination), None), now))
            for brand, sku, denomination, _ in _offers()
        ]
    finally:
        await pool.close()
    return _Trade([_Buyer(*row) for row in buyers], decisions)


def _offers() -> Iterator[tuple[str, str, int, str]]:
    """Each product: brand, SKU, denomination, how its customers' numbers begin."""
    for brand in BRANDS:
        for denomination in DENOMINATIONS:
            yield brand.brand, f"{brand.sku}{denomination // 1000}", denomination, brand.number


def _products(decisions: Sequence[Mapping[str, Any]]) -> Iterator[tuple[object, ...]]:
    for place, (brand, sku, denomination, _) in enumerate(_offers()):
        decision = decisions[place]
        text = orjson.dumps(decision).decode()
        yield (
            *(place, brand, sku, price(denomination), decision["cheapest_cost"]),
            *(decision["dealer"], decision["route"], text),
            *(_payload(sku, brand, price(denomination), status) for status in _STATUSES),
        )


_STATUSES = ("succeeded", "failed")


def _payload(sku: str, brand: str, rupiah: int, status: str) -> str:
    """An event's text for `format`: $1 the order's id, $2 its reference, $3 the number."""
    moment = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
    is_failed = status == "failed"
    document = order_document(
        order_id=UUID(int=0),
        ref_id="%2$s",
        sku=sku,
        brand=brand,
        customer_number="%3$s",
        cluster=None,
        price=rupiah,
        status=status,
        delayed=False,
        serial_number=None if is_failed else "0000000000001234",
        failure_code="dealer-failed" if is_failed else None,
        failure_message="The dealer could not deliver." if is_failed else None,
        version=2,
        created_at=moment,
        finished_at=moment,
        metadata=_METADATA,
    )
    body = {"type": f"order.{status}", "timestamp": moment.isoformat(), "data": document}
    return orjson.dumps(body).decode().replace(str(UUID(int=0)), "%1$s")


def _keys(buyers: Sequence[_Buyer], numbers: range, orders: int, until: datetime) -> Iterator[_Key]:
    """Orders of these numbers, the same ones on every call but for their time."""
    draw, rules = Random(numbers.start), ReferenceRules()
    begin = until - MONTHS
    offers = list(_offers())
    for n in numbers:
        at = begin + MONTHS * (n / orders)
        first_buyer = draw.random() < _FIRST_BUYERS
        buyer = buyers[0 if first_buyer else math.floor(draw.random() * len(buyers))]
        hundredth, product = draw.random() * 100, math.floor(draw.random() * len(offers))
        course = "failed" if hundredth < _FAILED else "second" if hundredth < _SECOND else "plain"
        order_id = _id_of(at, draw)
        yield _Key(
            n,
            *buyer,
            product,
            course,
            order_id,
            _id_of(at + timedelta(seconds=1), draw),
            _id_of(at + timedelta(seconds=1), draw),
            dealer_reference(buyer.lane, order_id, 1, rules),
            dealer_reference(buyer.lane, order_id, 2, rules) if course == "second" else "",
            f"{offers[product][3]}{math.floor(draw.random() * 1e8):08d}",
            at,
        )


def _id_of(moment: datetime, draw: Random) -> UUID:
    """A UUIDv7 as one made at that moment."""
    bits = purchase_hours.first_id(moment).int | draw.getrandbits(74)
    high, low = bits >> 62 & 0xFFF, bits & (1 << 62) - 1
    return UUID(int=bits >> 80 << 80 | 7 << 76 | high << 64 | 2 << 62 | low)


async def _write(connection: Connection, keys: Sequence[_Key]) -> None:
    async with connection.transaction():
        await connection.execute(_KEYS)
        await connection.copy_records_to_table("history_keys", records=keys)
        await connection.execute(_BATCH)
        for statement in _ROWS:
            await connection.execute(statement)
        await connection.execute(_TRIES, SLOTS, _TRIES_KEPT)
        await connection.execute(_WALLETS)


async def _add_up_hours(connection: Connection, until: datetime) -> None:
    """What was bought by the hour, as the service would have written it meanwhile."""
    for hour in purchase_hours.hours(until - _HOURS_KEPT, until - purchase_hours.HOUR):
        await purchase_hours.write(connection, hour)


_SESSION = """
    set synchronous_commit = off;
    set work_mem = '128MB';
    -- As on the service's connections: by key.
    set enable_seqscan = off;
    set enable_hashjoin = off;
    set enable_mergejoin = off
"""
_PRODUCTS = """
    create temporary table history_products (
        product integer primary key, brand text, sku text, price bigint, cost bigint,
        dealer_id text, route_id text, decision text, succeeded text, failed text
    )
"""
_KEYS = """
    create temporary table history_keys (
        n bigint, lane smallint, reseller_id uuid, endpoint_id uuid, product integer, course text,
        order_id uuid, event_id uuid, delivery_id uuid, dealer_ref text, second_ref text,
        customer_number text, created_at timestamptz
    ) on commit drop
"""
_BATCH = """
    create temporary table history on commit drop as
    select k.*, p.brand, p.sku, p.price, p.cost, p.dealer_id, p.route_id, p.decision,
           'h-' || lpad(k.n::text, 10, '0') as ref_id,
           k.created_at + interval '900 milliseconds' as finished_at,
           case when k.course = 'failed' then 'failed' else 'succeeded' end as status,
           case when k.course = 'failed' then p.failed else p.succeeded end as payload,
           case when k.course = 'failed' then 0 else p.price end as paid,
           row_number() over earlier as turn,
           w.entry_seq, w.event_seq,
           w.available - coalesce(sum(case when k.course = 'failed' then 0 else p.price end)
               over (earlier rows between unbounded preceding and 1 preceding), 0)::bigint as purse
    from history_keys k
    join history_products p on p.product = k.product
    join wallets w on w.lane = k.lane and w.reseller_id = k.reseller_id
    window earlier as (partition by k.lane, k.reseller_id order by k.n)
    order by k.n
"""
_ROWS = (
    f"""
    insert into orders (
        lane, order_id, reseller_id, ref_id, sku, brand, customer_number, outlet_id, price,
        retry_until, created_at, metadata, decision
    )
    select lane, order_id, reseller_id, ref_id, sku, brand, customer_number, 'outlet-000001', price,
           created_at + interval '10 minutes', created_at, '{_METADATA}', decision::json
    from history order by n
    """,
    """
    update orders o
    set status = h.status, version = 2, finished_at = h.finished_at,
        failure_code = case h.status when 'failed' then 'dealer-failed' end,
        failure_message = case h.status when 'failed' then 'The dealer could not deliver.' end,
        serial_number = case h.status when 'succeeded' then '0000000000001234' end,
        serving_attempt = case h.course when 'plain' then 1 when 'second' then 2 end
    from history h
    where o.lane = h.lane and o.order_id = h.order_id
    """,
    """
    insert into order_references (lane, reseller_id, ref_id, order_id, fingerprint)
    select lane, reseller_id, ref_id, order_id, sha256(uuid_send(order_id))
    from history order by n
    """,
    """
    create temporary table history_attempts on commit drop as
    select h.n, h.lane, h.order_id, h.sku, h.cost, h.price, h.created_at, h.finished_at,
           h.route_id, h.decision, a.*
    from history h
    cross join lateral (
        select 1::smallint as attempt_no, h.dealer_id, h.dealer_ref,
               case h.course when 'plain' then 'succeeded' when 'second' then 'rejected'
                             else 'failed' end as state
        union all
        select 2, h.dealer_id || '-2', h.second_ref, 'succeeded'
        where h.course = 'second'
    ) a
    """,
    """
    insert into attempts (
        lane, order_id, attempt_no, dealer_id, route_id, dealer_sku, dealer_ref, cost, max_price,
        claim_id, due_at, asked_at, sent_at, decision
    )
    select lane, order_id, attempt_no, dealer_id, route_id, sku, dealer_ref, cost, price,
           order_id, created_at + interval '90 seconds', created_at, created_at,
           case attempt_no when 2 then decision::json end
    from history_attempts order by n
    """,
    """
    update attempts t
    set state = a.state, claim_id = null, due_at = null, closed_at = a.finished_at,
        code = case a.state when 'succeeded' then '00' else '40' end,
        message = case a.state when 'succeeded' then 'Transaksi Sukses' else 'Transaksi Gagal' end,
        serial_number = case a.state when 'succeeded' then '0000000000001234' end,
        charged = case a.state when 'succeeded' then a.cost end
    from history_attempts a
    where t.lane = a.lane and t.order_id = a.order_id and t.attempt_no = a.attempt_no
    """,
    """
    insert into ledger_entries (
        lane, reseller_id, seq, kind, order_id, leg, available_delta, reserved_delta,
        outside_delta, available_after, reserved_after, created_at
    )
    select lane, reseller_id, entry_seq + 2 * turn - 1, 'reserve', order_id, 'reserve',
           -price, price, 0, purse - price, price, created_at
    from history
    union all
    select lane, reseller_id, entry_seq + 2 * turn,
           case status when 'failed' then 'release' else 'capture' end, order_id, 'resolve',
           price - paid, -price, paid, purse - paid, 0, finished_at
    from history
    order by 12
    """,
    """
    insert into events (
        lane, reseller_id, event_seq, event_id, type, order_id, order_version, payload, created_at
    )
    select lane, reseller_id, event_seq + turn, event_id, 'order.' || status, order_id, 2,
           format(payload, order_id, ref_id, customer_number), finished_at
    from history order by n
    """,
    """
    insert into deliveries (
        lane, delivery_id, reseller_id, endpoint_id, event_id, event_seq, order_id, claim_id,
        due_at, created_at
    )
    select lane, delivery_id, reseller_id, endpoint_id, event_id, event_seq + turn, order_id,
           order_id, finished_at + interval '30 seconds', finished_at
    from history order by n
    """,
    """
    update deliveries d
    set state = 'delivered', tries = 1, claim_id = null, due_at = null, last_status = 204,
        delivered_at = h.finished_at + interval '50 milliseconds'
    from history h
    where d.lane = h.lane and d.reseller_id = h.reseller_id and d.delivery_id = h.delivery_id
    """,
    """
    insert into callbacks (
        lane, dealer_id, identity, callback_id, method, query, headers, body, source_address,
        verdict, received_at, last_received_at, applied_at, trusted
    )
    select lane, dealer_id, sha256(uuid_send(order_id)), event_id, 'POST', '',
           '{"content-type": "application/json", "x-hub-signature": "sha1=0000000000000000"}',
           convert_to(payload, 'UTF8'), '192.0.2.1', 'applied', finished_at, finished_at,
           finished_at, true
    from history where n % 10 = 0 order by n
    """,
)
_TRIES = """
    insert into delivery_tries (
        slot, lane, reseller_id, delivery_id, tried_at, duration_ms, status, request_headers,
        response_headers, response_body
    )
    select floor(extract(epoch from finished_at))::bigint / 86400 % $1, lane, reseller_id,
           delivery_id, finished_at, 12, 204,
           json_build_object('webhook-id', 'evt_' || event_id, 'webhook-timestamp', '1767268800',
                             'content-type', 'application/json', 'user-agent', 'Jalur'),
           '{"content-length": "0"}', ''
    from history where finished_at > now() - $2::interval order by n
"""
_WALLETS = """
    update wallets w
    set available = w.available - h.paid, entry_seq = w.entry_seq + 2 * h.orders,
        event_seq = w.event_seq + h.orders
    from (
        select lane, reseller_id, sum(paid)::bigint as paid, count(*) as orders
        from history group by lane, reseller_id
    ) h
    where w.lane = h.lane and w.reseller_id = h.reseller_id
"""
