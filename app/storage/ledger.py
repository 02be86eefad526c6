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
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from app.postings import Posting, Wallet
from app.storage.open_numbers import OpenNumber
from app.storage.pool import Connection, transposed

WalletKey = tuple[int, UUID]
"""(lane, reseller_id)"""


class Movement(NamedTuple):
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


class News(NamedTuple):
    """An event to be told, its number not drawn yet."""

    lane: int
    reseller_id: UUID
    event_id: UUID
    type: str
    order_id: UUID | None
    order_version: int | None
    payload: str


class Errand(NamedTuple):
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
    closed: Sequence[OpenNumber] = (),
) -> None:
    """Move money and tell of it, in one statement under the locks of the wallets it concerns.

    Entries and events are numbered and balances run on in the order given; each wallet is written
    once. `lease` is that of the errands that are claimed already, `closed` what orders that close
    with this hold no more.
    """
    keys = sorted({(each.lane, each.reseller_id) for each in (*movements, *news)})
    tallies = _Tallies(keys)
    placed_movements = [(*each, *tallies.move(each)) for each in movements]
    placed_news = {each.event_id: (*each, *tallies.tell(each)) for each in news}
    written = await connection.execute(
        """
        with wallet as materialized (
            select k.place, w.available, w.reserved, w.entry_seq, w.event_seq
            from unnest($1::smallint[], $2::uuid[]) with ordinality k (lane, reseller_id, place)
            join wallets w on w.lane = k.lane and w.reseller_id = k.reseller_id
            order by w.lane, w.reseller_id
            for update of w
        ), purse as materialized (
            select array_agg(available order by place) as available,
                   array_agg(reserved order by place) as reserved,
                   array_agg(entry_seq order by place) as entry_seq,
                   array_agg(event_seq order by place) as event_seq
            from wallet
        ), entered as (
            insert into ledger_entries (
                lane, reseller_id, kind, order_id, leg, available_delta, reserved_delta,
                outside_delta, reference, seq, available_after, reserved_after
            )
            select m.lane, m.reseller_id, m.kind, m.order_id, m.leg, m.available_delta,
                   m.reserved_delta, m.outside_delta, m.reference, p.entry_seq[m.place] + m.number,
                   p.available[m.place] + m.available_so_far,
                   p.reserved[m.place] + m.reserved_so_far
            from unnest($3::wallet_movement[]) m
            cross join purse p
        ), told as (
            insert into events (lane, reseller_id, event_id, type, order_id, order_version,
                                payload, event_seq, created_at)
            select n.lane, n.reseller_id, n.event_id, n.type, n.order_id, n.order_version,
                   n.payload, p.event_seq[n.place] + n.number, now()
            from unnest($4::event_news[]) n
            cross join purse p
        ), sent as (
            insert into deliveries (lane, delivery_id, endpoint_id, event_id, claim_id,
                                    reseller_id, order_id, event_seq, due_at)
            select d.lane, d.delivery_id, d.endpoint_id, d.event_id, d.claim_id, d.reseller_id,
                   d.order_id, p.event_seq[d.place] + d.number,
                   case when d.claim_id is null then now() else now() + $10::interval end
            from unnest($5::delivery_errand[]) d
            cross join purse p
        ), freed as (
            delete from open_numbers b
            using unnest($11::smallint[], $12::uuid[], $13::text[], $14::text[], $15::uuid[])
                k (lane, reseller_id, customer_number, sku, order_id), purse
            where b.lane = k.lane and b.reseller_id = k.reseller_id
              and b.customer_number = k.customer_number and b.sku = k.sku
              and b.order_id = k.order_id
        )
        update wallets w
        set available = p.available[k.place] + k.available,
            reserved = p.reserved[k.place] + k.reserved,
            entry_seq = p.entry_seq[k.place] + k.entries,
            event_seq = p.event_seq[k.place] + k.events
        from unnest($1::smallint[], $2::uuid[], $6::bigint[], $7::bigint[], $8::bigint[],
                    $9::bigint[])
             with ordinality k (lane, reseller_id, available, reserved, entries, events, place)
        cross join purse p
        where w.lane = k.lane and w.reseller_id = k.reseller_id
          and cardinality(p.available) = cardinality($1::smallint[])
        """,
        *transposed(keys, 2),
        placed_movements,
        list(placed_news.values()),
        [_place_errand(each, placed_news[each.event_id]) for each in errands],
        *transposed(tallies.totals, 4),
        lease,
        *transposed(closed, len(OpenNumber._fields)),
    )
    if written != f"UPDATE {len(keys)}":
        raise RuntimeError(f"{len(keys)} wallets were to be written: {written}")


class _Tallies:
    """Running sums a wallet, so that the statement only adds them to what it finds there."""

    def __init__(self, keys: Sequence[WalletKey]) -> None:
        self._place = {key: place for place, key in enumerate(keys, 1)}
        self._totals = [[0, 0, 0, 0] for _ in keys]

    @property
    def totals(self) -> list[tuple[int, ...]]:
        """By wallet: available, reserved, how many entries, how many events."""
        return [tuple(each) for each in self._totals]

    def move(self, movement: Movement) -> tuple[int, int, int, int]:
        """The wallet's place, the entry's number there, available and reserved so far."""
        place = self._place[movement.lane, movement.reseller_id]
        total = self._totals[place - 1]
        total[0] += movement.available_delta
        total[1] += movement.reserved_delta
        total[2] += 1
        return place, total[2], total[0], total[1]

    def tell(self, news: News) -> tuple[int, int]:
        """The wallet's place and the event's number there."""
        place = self._place[news.lane, news.reseller_id]
        total = self._totals[place - 1]
        total[3] += 1
        return place, total[3]


def _place_errand(errand: Errand, told: tuple[Any, ...]) -> tuple[Any, ...]:
    """An errand with its event's reseller and order, wallet's place and number."""
    _, reseller_id, _, _, order_id, _, _, place, number = told
    return (*errand, reseller_id, order_id, place, number)


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
