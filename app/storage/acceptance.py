"""Acceptance: one statement that reserves money and writes orders. Only lifecycle may import it.

A batch is one statement and so one commit: the wallets are locked in key order, funds are granted
by running sum in order of arrival, and references, orders, their first attempts and entries are
inserted, each wallet written once. The locks last no longer than the statement and its commit.

An order holds its number until it closes (`app/storage/open_numbers.py`). Who holds one is looked
up here; the table's key decides between orders that do not see each other yet.

An order's first attempt is either the intent of a purchase that this process is about to send,
claimed in the very commit that accepts the order, or a `ready` row for whoever has room.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter
from typing import Any
from uuid import UUID

import asyncpg

from app.errors import JalurError
from app.storage import open_numbers
from app.storage.attempts import NewAttempt
from app.storage.orders import NewOrder
from app.storage.pool import Connection, transposed

_WANTED = ("route_id", "dealer_sku", "dealer_ref", "cost", "max_price", "claim_id")
_intent = attrgetter(*_WANTED)
_NO_INTENT = (None,) * len(_WANTED)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An order to accept, the dealer chosen for it, and perhaps the purchase to claim at once."""

    order: NewOrder
    dealer_id: str
    intent: NewAttempt | None = None
    barred: bool = False
    """Accepted on no account, for the number is another one's: only its reference is looked up."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one order of the batch.

    `held_by` and `fingerprint` are those of the order that holds the reference already. Otherwise
    `busy_with` is an open order for the same number and product, of which there may be one only,
    and `admitted` says whether the order was taken. `left` is what the wallet and its credit can
    still reserve afterwards, in rupiah; None without a wallet. `claimed` says that the intent
    stands.
    """

    held_by: UUID | None
    fingerprint: bytes | None
    admitted: bool
    left: int | None
    claimed: bool
    busy_with: UUID | None


class Raced(JalurError):
    """Another process took a reference or a number between this statement's look and its write."""


class WalletMissing(JalurError):
    """A reseller of a larger batch has no wallet; nothing was written."""


async def accept(
    connection: Connection, candidates: Sequence[Candidate], lease: timedelta
) -> list[Verdict]:
    """Accept orders whose references differ, and their numbers where only one order may stand.

    Verdicts in their order; `lease` is the intents'. Raises Raced, with nothing written, when
    another process takes a reference or a number at this very moment; run again, the statement
    sees its holder.
    """
    keys = sorted({(each.order.lane, each.order.reseller_id) for each in candidates})
    try:
        rows = await _accept(connection, candidates, keys, lease)
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == "open_numbers_pkey":
            await open_numbers.forget_closed(connection, [each.order for each in candidates])
        raise Raced(str(error.detail)) from error
    if rows and rows[0][3] is None and len(candidates) > 1:
        raise WalletMissing("a wallet is missing")
    return [Verdict(*row) for row in rows]


async def _accept(
    connection: Connection,
    candidates: Sequence[Candidate],
    keys: Sequence[tuple[int, UUID]],
    lease: timedelta,
) -> Sequence[asyncpg.Record]:
    """Run the statement. A wallet is found by its place in `keys`, never by a join of the batch
    with itself, so that the work grows with the batch and not with its square."""
    place = {key: number for number, key in enumerate(keys, 1)}
    return await connection.fetch(
        """
        with wallet as materialized (
            select k.place, w.available, w.reserved, w.entry_seq, w.credit_limit
            from unnest($1::smallint[], $2::uuid[]) with ordinality k (lane, reseller_id, place)
            join wallets w on w.lane = k.lane and w.reseller_id = k.reseller_id
            order by w.lane, w.reseller_id
            for update of w
        ), purse as materialized (
            select array_agg(available order by place) as available,
                   array_agg(reserved order by place) as reserved,
                   array_agg(entry_seq order by place) as entry_seq,
                   array_agg(credit_limit order by place) as credit_limit,
                   count(*) = cardinality($1::smallint[]) as complete,
                   not exists (select from purchases_held) as buying
            from wallet
        ), judged as materialized (
            select i.*, p.available[i.place] as available_before,
                   p.credit_limit[i.place] as credit,
                   p.entry_seq[i.place] + count(*) filter (where i.is_free) over arrival as seq,
                   p.available[i.place] - (sum(i.price) filter (where i.is_free)
                       over arrival)::bigint as available_after,
                   p.reserved[i.place] + (sum(i.price) filter (where i.is_free)
                       over arrival)::bigint as reserved_after,
                   p.complete, p.buying and i.claim_id is not null as claims
            from (
                select c.*, h.order_id as held_by, h.fingerprint as held_fingerprint,
                       n.order_id as busy_with,
                       h.order_id is null and n.order_id is null and not c.barred as is_free
                from unnest($3::order_candidate_3[]) with ordinality c
                left join lateral (
                    select order_id, fingerprint from order_references
                    where lane = c.lane and reseller_id = c.reseller_id and ref_id = c.ref_id
                    offset 0
                ) h on true
                left join lateral (
                    select b.order_id from open_numbers b
                    cross join lateral (
                        select from orders
                        where lane = b.lane and order_id = b.order_id
                          and status in ('accepted', 'processing')
                        offset 0
                    ) o
                    where b.lane = c.lane and b.reseller_id = c.reseller_id
                      and b.customer_number = c.customer_number and b.sku = c.sku
                    limit 1
                ) n on not c.may_repeat
            ) i
            cross join purse p
            window arrival as (partition by i.place order by i.ordinality)
        ), verdict as materialized (
            select *, is_free and complete and available_after + credit >= 0 as admitted
            from judged
        ), referred as (
            insert into order_references (lane, reseller_id, ref_id, order_id, fingerprint)
            select lane, reseller_id, ref_id, order_id, fingerprint from verdict where admitted
        ), written as (
            insert into orders (
                lane, order_id, reseller_id, ref_id, sku, brand, customer_number, cluster, region,
                outlet_id, max_price, price, retry_until, created_at, metadata, decision, hops,
                trace
            )
            select lane, order_id, reseller_id, ref_id, sku, brand, customer_number, cluster,
                   region, outlet_id, order_max_price, price, retry_until, created_at, metadata,
                   decision, hops, trace
            from verdict where admitted
        ), numbered as (
            insert into open_numbers (lane, reseller_id, customer_number, sku, slot, order_id)
            select lane, reseller_id, customer_number, sku,
                   case when may_repeat then order_id else $5::uuid end, order_id
            from verdict where admitted
        ), queued as (
            insert into ready (lane, order_id, attempt_no, dealer_id, not_before)
            select lane, order_id, 1, dealer_id, now() from verdict where admitted and not claims
        ), intended as (
            insert into attempts (
                lane, order_id, attempt_no, dealer_id, route_id, dealer_sku, dealer_ref, cost,
                max_price, claim_id, due_at, asked_at, sent_at
            )
            select lane, order_id, 1, dealer_id, route_id, dealer_sku, dealer_ref, cost,
                   max_price, claim_id, now() + $4::interval, now(), now()
            from verdict where admitted and claims
        ), entered as (
            insert into ledger_entries (
                lane, reseller_id, seq, kind, order_id, leg, available_delta, reserved_delta,
                outside_delta, available_after, reserved_after
            )
            select lane, reseller_id, seq, 'reserve', order_id, 'reserve', -price, price, 0,
                   available_after, reserved_after
            from verdict where admitted
        ), moved as (
            update wallets w
            set available = s.available, reserved = s.reserved, entry_seq = s.entry_seq
            from (
                select lane, reseller_id, min(available_after) as available,
                       max(reserved_after) as reserved, max(seq) as entry_seq
                from verdict where admitted group by lane, reseller_id
            ) s
            where w.lane = s.lane and w.reseller_id = s.reseller_id
        )
        select held_by, held_fingerprint, admitted,
               case when complete then credit + coalesce(
                   min(available_after) filter (where admitted) over (partition by place),
                   available_before
               ) end,
               case when held_by = order_id then exists (
                   select from attempts a
                   where a.lane = v.lane and a.order_id = v.order_id and a.attempt_no = 1
                     and a.claim_id = v.claim_id
               ) else admitted and claims end,
               busy_with
        from verdict v
        order by ordinality
        """,
        *transposed(keys, 2),
        [_row(each, place[each.order.lane, each.order.reseller_id]) for each in candidates],
        lease,
        open_numbers.ONLY,
    )


def _row(candidate: Candidate, place: int) -> tuple[Any, ...]:
    """A candidate as the type `order_candidate_3`."""
    intent = _NO_INTENT if candidate.intent is None else _intent(candidate.intent)
    return (place, *candidate.order, candidate.dealer_id, candidate.barred, *intent)
