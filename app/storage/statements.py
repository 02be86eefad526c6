"""Statements: balances for reading, and the proof that they and their entries are right.

`verify` asks, in SQL and in one snapshot, every question whose answer must be "no rows". It also
asks what foreign keys would, had the large tables any.
"""

from dataclasses import dataclass
from uuid import UUID

from app.storage.pool import Connection, one_view

EXAMPLES = 5
_CHECK_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Balance:
    """A reseller's money, in rupiah. `available` may be negative, down to the credit limit."""

    available: int
    reserved: int
    credit_limit: int


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A check that found rows: how many, and a few of them in words."""

    check: str
    count: int
    examples: list[str]


@dataclass(frozen=True, slots=True)
class WalletTotals:
    """All live wallets together, in rupiah; `beyond_credit` counts those below their limit."""

    available: int
    reserved: int
    credit_in_use: int
    beyond_credit: int


async def wallet_totals(connection: Connection) -> WalletTotals:
    """Add up all wallets but those with play money: it reads each, so it is for now and then."""
    row = await connection.fetchrow(
        """
        select coalesce(sum(available), 0)::bigint, coalesce(sum(reserved), 0)::bigint,
               coalesce(sum(-available) filter (where available < 0), 0)::bigint,
               count(*) filter (where available < -credit_limit)
        from wallets join resellers using (lane, reseller_id)
        where not test
        """
    )
    return WalletTotals(*row) if row else WalletTotals(0, 0, 0, 0)


async def balance(connection: Connection, lane: int, reseller_id: UUID) -> Balance | None:
    """The reseller's balance."""
    row = await connection.fetchrow(
        """
        select available, reserved, credit_limit from wallets
        where lane = $1 and reseller_id = $2
        """,
        lane,
        reseller_id,
    )
    return Balance(*row) if row else None


async def verify(connection: Connection) -> list[Discrepancy]:
    """Every check that finds something wrong; an empty list is the proof.

    Reads whole tables in one snapshot: minutes on a large database, blocking nobody.
    """
    async with one_view(connection):
        await connection.execute(_WHOLE_TABLES)
        found: list[Discrepancy] = []
        for check, query in CHECKS.items():
            rows = await connection.fetch(
                _EXAMPLES_OF + query + _LIMITED, EXAMPLES, timeout=_CHECK_SECONDS
            )
            if rows:
                found.append(Discrepancy(check, rows[0][1], [row[0] for row in rows]))
    return found


async def difference(connection: Connection) -> int:
    """By how many rupiah wallets and their entries differ in all, balances taken apart."""
    return await connection.fetchval(
        """
        select coalesce(sum(abs(w.available - coalesce(e.available, 0))
                            + abs(w.reserved - coalesce(e.reserved, 0))), 0)::bigint
        from wallets w
        left join (
            select lane, reseller_id, sum(available_delta) as available,
                   sum(reserved_delta) as reserved
            from ledger_entries group by lane, reseller_id
        ) e using (lane, reseller_id)
        """
    )


_WHOLE_TABLES = """
    set local enable_seqscan = on;
    set local enable_bitmapscan = on;
    set local enable_hashjoin = on;
    set local enable_mergejoin = on;
    set local statement_timeout = 0
"""

_EXAMPLES_OF = "select example, count(*) over () from ("
_LIMITED = ") wrong (example) limit $1"

CHECKS = {
    "wallet-equals-its-entries": """
        select format('reseller %s: wallet %s + %s, entries %s + %s', w.reseller_id,
                      w.available, w.reserved, coalesce(e.available, 0), coalesce(e.reserved, 0))
        from wallets w
        left join (
            select lane, reseller_id, sum(available_delta) as available,
                   sum(reserved_delta) as reserved, max(seq) as seq
            from ledger_entries group by lane, reseller_id
        ) e using (lane, reseller_id)
        where w.available <> coalesce(e.available, 0) or w.reserved <> coalesce(e.reserved, 0)
           or w.entry_seq <> coalesce(e.seq, 0)
    """,
    "entry-has-its-wallet": """
        select format('reseller %s, entry %s', e.reseller_id, e.seq)
        from ledger_entries e
        left join wallets w using (lane, reseller_id)
        where w.reseller_id is null
    """,
    "entry-numbers-are-gapless": """
        select format('reseller %s: entry %s follows %s', reseller_id, seq, previous)
        from (
            select reseller_id, seq, coalesce(lag(seq) over chain, 0) as previous
            from ledger_entries
            window chain as (partition by lane, reseller_id order by seq)
        ) e
        where seq <> previous + 1
    """,
    "balances-follow-from-entries": """
        select format('reseller %s, entry %s', reseller_id, seq)
        from (
            select reseller_id, seq,
                   coalesce(lag(available_after) over chain, 0) + available_delta as available,
                   coalesce(lag(reserved_after) over chain, 0) + reserved_delta as reserved,
                   available_after, reserved_after
            from ledger_entries
            window chain as (partition by lane, reseller_id order by seq)
        ) e
        where available <> available_after or reserved <> reserved_after
    """,
    "entries-sum-to-zero": """
        select format('reseller %s, entry %s', reseller_id, seq)
        from ledger_entries
        where available_delta + reserved_delta + outside_delta <> 0
    """,
    "entry-has-its-order": """
        select format('reseller %s, entry %s: order %s', e.reseller_id, e.seq, e.order_id)
        from ledger_entries e
        left join orders o
          on o.lane = e.lane and o.order_id = e.order_id and o.reseller_id = e.reseller_id
        where e.order_id is not null and o.order_id is null
    """,
    "entry-moves-its-order's-price": """
        select format('order %s at %s: entry %s', o.order_id, o.price, e.seq)
        from ledger_entries e
        join orders o using (lane, order_id)
        where greatest(abs(e.available_delta), abs(e.reserved_delta)) <> o.price
    """,
    "order-is-reserved-once": """
        select format('order %s: %s reserves', o.order_id, count(e.seq))
        from orders o
        left join ledger_entries e
          on e.lane = o.lane and e.order_id = o.order_id and e.leg = 'reserve'
        group by o.lane, o.order_id
        having count(e.seq) <> 1
    """,
    "only-finished-orders-are-resolved": """
        select format('order %s is %s: %s resolves', o.order_id, o.status, count(e.seq))
        from orders o
        left join ledger_entries e
          on e.lane = o.lane and e.order_id = o.order_id and e.leg = 'resolve'
        group by o.lane, o.order_id
        having count(e.seq)
               <> case when o.status in ('accepted', 'processing') then 0 else 1 end
    """,
    "resolved-as-its-corrections-say": """
        select format('order %s is %s by %s, corrected %s times', o.order_id, o.status, e.kind,
                      o.corrections)
        from orders o
        join ledger_entries e
          on e.lane = o.lane and e.order_id = o.order_id and e.leg = 'resolve'
        where o.status in ('succeeded', 'failed', 'reversed')
          and (e.kind = 'capture')
              <> ((o.status = 'succeeded') = (o.corrections % 2 = 0))
    """,
    "corrections-are-counted": """
        select format('order %s: %s of %s corrections', o.order_id, count(e.seq), o.corrections)
        from orders o
        left join ledger_entries e
          on e.lane = o.lane and e.order_id = o.order_id and e.leg like 'correction %'
        group by o.lane, o.order_id
        having count(e.seq) <> o.corrections
    """,
    "order-costs-what-its-status-says": """
        select format('order %s is %s: available %s, reserved %s', o.order_id, o.status,
                      sum(e.available_delta), sum(e.reserved_delta))
        from orders o
        join ledger_entries e on e.lane = o.lane and e.order_id = o.order_id
        group by o.lane, o.order_id
        having sum(e.available_delta)
               <> case when o.status in ('failed', 'reversed') then 0 else -o.price end
            or sum(e.reserved_delta)
               <> case when o.status in ('accepted', 'processing') then o.price else 0 end
    """,
    "reserved-is-for-open-orders": """
        select format('reseller %s: %s reserved, open orders of %s', w.reseller_id, w.reserved,
                      coalesce(o.price, 0))
        from wallets w
        left join (
            select lane, reseller_id, sum(price) as price from orders
            where status in ('accepted', 'processing') group by lane, reseller_id
        ) o using (lane, reseller_id)
        where w.reserved <> coalesce(o.price, 0)
    """,
    "open-order-is-in-somebody's-hands": """
        select format('order %s: not ready, not attempted, not in review', o.order_id)
        from orders o
        where o.status in ('accepted', 'processing')
          and not exists (
              select from ready r where r.lane = o.lane and r.order_id = o.order_id
          )
          and not exists (
              select from attempts a
              where a.lane = o.lane and a.order_id = o.order_id
                and a.state in ('sent', 'pending', 'unknown')
          )
          and not exists (
              select from reviews r
              where r.lane = o.lane and r.order_id = o.order_id and r.closed_at is null
          )
    """,
    "open-attempt-is-asked-about-or-reviewed": """
        select format('order %s, attempt %s', a.order_id, a.attempt_no)
        from attempts a
        join orders o using (lane, order_id)
        where a.state in ('sent', 'pending', 'unknown') and a.due_at is null
          and o.status in ('accepted', 'processing')
          and not exists (
              select from reviews r
              where r.lane = a.lane and r.order_id = a.order_id and r.closed_at is null
          )
    """,
    "success-has-its-purchase": """
        select format('order %s', o.order_id)
        from orders o
        where o.status = 'succeeded' and not exists (
            select from attempts a
            where a.lane = o.lane and a.order_id = o.order_id and a.state = 'succeeded'
        )
    """,
    "second-purchase-is-disputed": """
        select format('order %s: bought %s times', a.order_id, count(*))
        from attempts a
        left join disputes d using (lane, order_id, attempt_no)
        where a.state = 'succeeded'
        group by a.lane, a.order_id
        having count(*) > 1 + count(d.order_id)
    """,
    "finished-order-is-reported": """
        select format('order %s is %s', o.order_id, o.status)
        from orders o
        where o.status in ('succeeded', 'failed', 'reversed') and not exists (
            select from events e
            where e.lane = o.lane and e.order_id = o.order_id
              and e.type = any(case o.status
                  when 'succeeded' then array['order.succeeded', 'order.corrected']
                  when 'failed' then array['order.failed']
                  else array['order.reversed']
              end)
        )
    """,
    "event-numbers-are-gapless": """
        select format('reseller %s: event %s follows %s', reseller_id, event_seq, previous)
        from (
            select reseller_id, event_seq, coalesce(lag(event_seq) over chain, 0) as previous
            from events
            window chain as (partition by lane, reseller_id order by event_seq)
        ) e
        where event_seq <> previous + 1
    """,
    "attempt-has-its-order": """
        select format('order %s, attempt %s', a.order_id, a.attempt_no)
        from attempts a
        left join orders o using (lane, order_id)
        where o.order_id is null
    """,
    "ready-row-has-its-open-order": """
        select format('order %s', r.order_id)
        from ready r
        left join orders o
          on o.lane = r.lane and o.order_id = r.order_id
         and o.status in ('accepted', 'processing')
        where o.order_id is null
    """,
    "event-has-its-order": """
        select format('event %s: order %s', e.event_id, e.order_id)
        from events e
        left join orders o
          on o.lane = e.lane and o.order_id = e.order_id and o.reseller_id = e.reseller_id
        where e.order_id is not null and o.order_id is null
    """,
    "delivery-has-its-event": """
        select format('delivery %s: event %s', d.delivery_id, d.event_id)
        from deliveries d
        left join events e
          on e.lane = d.lane and e.reseller_id = d.reseller_id and e.event_seq = d.event_seq
         and e.event_id = d.event_id
        where e.event_id is null
    """,
}
"""What must be true, and a query for the rows where it is not, a sentence each."""
