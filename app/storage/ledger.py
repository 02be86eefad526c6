"""The ledger: wallets and their append-only entries. Only lifecycle may import this file.

wallets(lane, reseller_id, available, reserved, credit_limit, entry_seq, event_seq)
ledger_entries(lane, reseller_id, seq, kind, order_id, leg, three deltas, two balances after)
    unique (lane, reseller_id, seq); unique (lane, order_id, leg)

A wallet is locked once a batch, in key order, and written once a batch; every entry carries the
balances after it, so that a wallet can be proved from its entries. Money and what is told of it
are one statement, since both draw their numbers under the wallet's lock, and a lock that waits
for a round trip holds up the reseller's next order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.postings import Posting, Wallet
from app.storage.pool import Connection, columns, transposed

WalletKey = tuple[int, UUID]
"""(lane, reseller_id)"""


@dataclass(frozen=True, slots=True)
class Movement:
    """A posting to a reseller's wallet. `reference` is a deposit's or an adjustment's."""

    lane: int
    reseller_id: UUID
    kind: str
    order_id: UUID | None
    leg: str | None
    available_delta: int
    reserved_delta: int
    outside_delta: int
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class News:
    """An event to be told, its number not drawn yet."""

    lane: int
    reseller_id: UUID
    event_id: UUID
    type: str
    order_id: UUID | None
    order_version: int | None
    payload: str


@dataclass(frozen=True, slots=True)
class Errand:
    """A delivery of an event to an endpoint. With a `claim_id` this process makes it at once."""

    lane: int
    delivery_id: UUID
    endpoint_id: UUID
    event_id: UUID
    claim_id: UUID | None


def movement(
    key: WalletKey,
    posting: Posting,
    *,
    order_id: UUID | None = None,
    reference: str | None = None,
) -> Movement:
    """A posting as it is written for one wallet."""
    return Movement(
        *key,
        posting.kind,
        order_id,
        posting.leg,
        posting.available_delta,
        posting.reserved_delta,
        posting.outside_delta,
        reference,
    )


async def write(
    connection: Connection,
    movements: Sequence[Movement],
    news: Sequence[News] = (),
    errands: Sequence[Errand] = (),
    lease: timedelta = timedelta(0),
) -> None:
    """Move money and tell of it, in one statement under the locks of the wallets it concerns.

    Entries and events are numbered and balances run on in the order given; each wallet is written
    once. `lease` is that of the errands that are claimed already.
    """
    keys = sorted({(each.lane, each.reseller_id) for each in (*movements, *news)})
    written = await connection.execute(
        """
        with wallet as materialized (
            select w.lane, w.reseller_id, w.available, w.reserved, w.entry_seq, w.event_seq
            from unnest($1::smallint[], $2::uuid[]) k (lane, reseller_id)
            join wallets w on w.lane = k.lane and w.reseller_id = k.reseller_id
            order by w.lane, w.reseller_id
            for update of w
        ), entry as materialized (
            select m.*, w.entry_seq + row_number() over arrival as seq,
                   w.available + (sum(m.available_delta) over arrival)::bigint as available_after,
                   w.reserved + (sum(m.reserved_delta) over arrival)::bigint as reserved_after
            from unnest(
                $3::smallint[], $4::uuid[], $5::text[], $6::uuid[], $7::text[], $8::bigint[],
                $9::bigint[], $10::bigint[], $11::text[]
            ) with ordinality m (
                lane, reseller_id, kind, order_id, leg, available_delta, reserved_delta,
                outside_delta, reference, position
            )
            join wallet w on w.lane = m.lane and w.reseller_id = m.reseller_id
            window arrival as (partition by m.lane, m.reseller_id order by m.position)
        ), event as materialized (
            select n.*, w.event_seq + row_number() over arrival as event_seq
            from unnest(
                $12::smallint[], $13::uuid[], $14::uuid[], $15::text[], $16::uuid[],
                $17::integer[], $18::text[]
            ) with ordinality n (
                lane, reseller_id, event_id, type, order_id, order_version, payload, position
            )
            join wallet w on w.lane = n.lane and w.reseller_id = n.reseller_id
            window arrival as (partition by n.lane, n.reseller_id order by n.position)
        ), entered as (
            insert into ledger_entries (
                lane, reseller_id, seq, kind, order_id, leg, available_delta, reserved_delta,
                outside_delta, available_after, reserved_after, reference
            )
            select lane, reseller_id, seq, kind, order_id, leg, available_delta, reserved_delta,
                   outside_delta, available_after, reserved_after, reference
            from entry
        ), told as (
            insert into events (lane, reseller_id, event_seq, event_id, type, order_id,
                                order_version, payload, created_at)
            select lane, reseller_id, event_seq, event_id, type, order_id, order_version, payload,
                   now()
            from event
        ), sent as (
            insert into deliveries (lane, delivery_id, reseller_id, endpoint_id, event_id,
                                    event_seq, order_id, claim_id, due_at)
            select d.lane, d.delivery_id, v.reseller_id, d.endpoint_id, d.event_id, v.event_seq,
                   v.order_id, d.claim_id,
                   case when d.claim_id is null then now() else now() + $24::interval end
            from unnest($19::smallint[], $20::uuid[], $21::uuid[], $22::uuid[], $23::uuid[])
                 d (lane, delivery_id, endpoint_id, event_id, claim_id)
            join event v on v.lane = d.lane and v.event_id = d.event_id
        )
        update wallets w
        set available = w0.available + coalesce(e.available, 0),
            reserved = w0.reserved + coalesce(e.reserved, 0),
            entry_seq = coalesce(e.seq, w0.entry_seq),
            event_seq = coalesce(v.event_seq, w0.event_seq)
        from wallet w0
        left join (
            select lane, reseller_id, sum(available_delta)::bigint as available,
                   sum(reserved_delta)::bigint as reserved, max(seq) as seq
            from entry group by lane, reseller_id
        ) e on e.lane = w0.lane and e.reseller_id = w0.reseller_id
        left join (
            select lane, reseller_id, max(event_seq) as event_seq
            from event group by lane, reseller_id
        ) v on v.lane = w0.lane and v.reseller_id = w0.reseller_id
        where w.lane = w0.lane and w.reseller_id = w0.reseller_id
        """,
        *transposed(keys, 2),
        *columns(movements, *Movement.__slots__),
        *columns(news, *News.__slots__),
        *columns(errands, *Errand.__slots__),
        lease,
    )
    if written != f"UPDATE {len(keys)}":
        raise RuntimeError(f"{len(keys)} wallets were to be written: {written}")


async def lock(connection: Connection, key: WalletKey) -> Wallet | None:
    """Lock one wallet and read it."""
    row = await connection.fetchrow(
        """
        select available, reserved, credit_limit from wallets
        where lane = $1 and reseller_id = $2 for update
        """,
        *key,
    )
    return Wallet(row[0], row[1], row[2]) if row else None


async def find_reference(
    connection: Connection, key: WalletKey, reference: str
) -> tuple[str, int] | None:
    """What was booked under a reference: its kind, and what it added in rupiah."""
    row = await connection.fetchrow(
        """
        select kind, available_delta from ledger_entries
        where lane = $1 and reseller_id = $2 and reference = $3
        """,
        *key,
        reference,
    )
    return (row[0], row[1]) if row else None
