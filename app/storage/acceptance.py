"""Acceptance: one statement that reserves money and writes orders. Only lifecycle may import it.

A batch is one statement and so one commit: the wallets are locked in key order, funds are granted
by running sum in order of arrival, and references, orders, `ready` rows and entries are inserted,
each wallet written once. The locks last no longer than the statement and its commit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from app.errors import JalurError
from app.storage.orders import NewOrder
from app.storage.pool import Connection, columns


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one order of the batch.

    `held_by` and `fingerprint` are those of the order that holds the reference already; otherwise
    `admitted` says whether the money was there. `left` is what the wallet and its credit can still
    reserve afterwards, in rupiah; None without a wallet.
    """

    held_by: UUID | None
    fingerprint: bytes | None
    admitted: bool
    left: int | None


class ReferenceRaced(JalurError):
    """Another transaction took a reference between this statement's look and its writing."""


async def accept(
    connection: Connection, orders: Sequence[NewOrder], dealer_ids: Sequence[str]
) -> list[Verdict]:
    """Accept orders whose references differ, each for its chosen dealer. Verdicts in their order.

    Raises ReferenceRaced, with nothing written, when another process takes one of the references
    at this very moment; run again, the statement sees its holder.
    """
    try:
        rows = await _accept(connection, orders, dealer_ids)
    except asyncpg.UniqueViolationError as error:
        raise ReferenceRaced(str(error.detail)) from error
    return [Verdict(row[0], row[1], row[2], row[3]) for row in rows]


async def _accept(
    connection: Connection, orders: Sequence[NewOrder], dealer_ids: Sequence[str]
) -> Sequence[asyncpg.Record]:
    return await connection.fetch(
        """
        with input as (
            select * from unnest(
                $1::smallint[], $2::uuid[], $3::uuid[], $4::text[], $5::bytea[], $6::text[],
                $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[],
                $13::bigint[], $14::timestamptz[], $15::timestamptz[], $16::json[], $17::json[],
                $18::text[]
            ) with ordinality i (
                lane, order_id, reseller_id, ref_id, fingerprint, sku, brand, customer_number,
                cluster, region, outlet_id, max_price, price, retry_until, created_at, metadata,
                decision, dealer_id, position
            )
        ), wallet as materialized (
            select w.lane, w.reseller_id, w.available, w.reserved, w.credit_limit, w.entry_seq
            from (select distinct lane, reseller_id from input) k
            join wallets w on w.lane = k.lane and w.reseller_id = k.reseller_id
            order by w.lane, w.reseller_id
            for update of w
        ), known as materialized (
            select i.position, h.order_id, h.fingerprint
            from input i
            join order_references h on h.lane = i.lane and h.reseller_id = i.reseller_id
                and h.ref_id = i.ref_id
        ), funded as materialized (
            select i.position, i.lane, i.reseller_id, i.order_id, i.price,
                   w.entry_seq + row_number() over arrival as seq,
                   w.available - (sum(i.price) over arrival)::bigint as available_after,
                   w.reserved + (sum(i.price) over arrival)::bigint as reserved_after,
                   w.credit_limit
            from input i
            join wallet w on w.lane = i.lane and w.reseller_id = i.reseller_id
            where not exists (select from known k where k.position = i.position)
            window arrival as (partition by i.lane, i.reseller_id order by i.position)
        ), admitted as materialized (
            select * from funded where available_after + credit_limit >= 0
        ), referred as (
            insert into order_references (lane, reseller_id, ref_id, order_id, fingerprint)
            select i.lane, i.reseller_id, i.ref_id, i.order_id, i.fingerprint
            from input i join admitted a using (position)
        ), written as (
            insert into orders (
                lane, order_id, reseller_id, ref_id, sku, brand, customer_number, cluster, region,
                outlet_id, max_price, price, retry_until, created_at, metadata, decision
            )
            select i.lane, i.order_id, i.reseller_id, i.ref_id, i.sku, i.brand, i.customer_number,
                   i.cluster, i.region, i.outlet_id, i.max_price, i.price, i.retry_until,
                   i.created_at, i.metadata, i.decision
            from input i join admitted a using (position)
        ), queued as (
            insert into ready (lane, order_id, attempt_no, dealer_id, not_before)
            select i.lane, i.order_id, 1, i.dealer_id, now()
            from input i join admitted a using (position)
        ), entered as (
            insert into ledger_entries (
                lane, reseller_id, seq, kind, order_id, leg, available_delta, reserved_delta,
                outside_delta, available_after, reserved_after
            )
            select lane, reseller_id, seq, 'reserve', order_id, 'reserve', -price, price, 0,
                   available_after, reserved_after
            from admitted
        ), spent as (
            select lane, reseller_id, min(available_after) as available,
                   max(reserved_after) as reserved, max(seq) as entry_seq
            from admitted group by lane, reseller_id
        ), moved as (
            update wallets w
            set available = s.available, reserved = s.reserved, entry_seq = s.entry_seq
            from spent s
            where w.lane = s.lane and w.reseller_id = s.reseller_id
        )
        select k.order_id, k.fingerprint, a.position is not null,
               coalesce(s.available, w.available) + w.credit_limit
        from input i
        left join known k using (position)
        left join admitted a using (position)
        left join wallet w on w.lane = i.lane and w.reseller_id = i.reseller_id
        left join spent s on s.lane = i.lane and s.reseller_id = i.reseller_id
        order by i.position
        """,
        *columns(orders, *NewOrder.__slots__),
        dealer_ids,
    )
