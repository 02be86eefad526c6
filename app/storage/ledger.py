"""The ledger: wallets and their append-only entries. Only lifecycle may import this file.

wallets(lane, reseller_id, available, reserved, credit_limit, entry_seq, event_seq)
ledger_entries(lane, reseller_id, seq, kind, order_id, leg, three deltas, two balances after)
    unique (lane, reseller_id, seq); unique (lane, order_id, leg)

A wallet is locked once a batch, in key order, and written once a batch; every entry carries the
balances after it, so that a wallet can be proved from its entries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from app.postings import Posting, Wallet
from app.storage.pool import Connection, columns, transposed

WalletKey = tuple[int, UUID]
"""(lane, reseller_id)"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A posting applied to a wallet: its sequence number and the balances after it, in rupiah."""

    lane: int
    reseller_id: UUID
    seq: int
    kind: str
    order_id: UUID | None
    leg: str | None
    available_delta: int
    reserved_delta: int
    outside_delta: int
    available_after: int
    reserved_after: int
    reference: str | None


def entry(
    key: WalletKey,
    after: Wallet,
    posting: Posting,
    *,
    order_id: UUID | None = None,
    reference: str | None = None,
) -> Entry:
    """The entry of a posting whose wallet is `after` it."""
    lane, reseller_id = key
    return Entry(
        lane,
        reseller_id,
        after.entry_seq,
        posting.kind,
        order_id,
        posting.leg,
        posting.available_delta,
        posting.reserved_delta,
        posting.outside_delta,
        after.available,
        after.reserved,
        reference,
    )


async def lock(connection: Connection, keys: Sequence[WalletKey]) -> dict[WalletKey, Wallet]:
    """Lock wallets in key order and read them. A missing wallet is missing in the result."""
    rows = await connection.fetch(
        """
        select w.lane, w.reseller_id, w.available, w.reserved, w.credit_limit, w.entry_seq,
               w.event_seq
        from unnest($1::smallint[], $2::uuid[]) k (lane, reseller_id)
        join wallets w on w.lane = k.lane and w.reseller_id = k.reseller_id
        where w.lane = any($1::smallint[])
        order by w.lane, w.reseller_id
        for update of w
        """,
        *transposed(keys, 2),
    )
    return {(row[0], row[1]): Wallet(row[2], row[3], row[4], row[5], row[6]) for row in rows}


async def write(
    connection: Connection, entries: Sequence[Entry], wallets: Mapping[WalletKey, Wallet]
) -> None:
    """Append entries and write the locked wallets they lead to."""
    if entries:
        await connection.execute(
            """
            insert into ledger_entries (
                lane, reseller_id, seq, kind, order_id, leg, available_delta, reserved_delta,
                outside_delta, available_after, reserved_after, reference
            )
            select * from unnest(
                $1::smallint[], $2::uuid[], $3::bigint[], $4::text[], $5::uuid[], $6::text[],
                $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[],
                $12::text[]
            )
            """,
            *columns(entries, *Entry.__slots__),
        )
    await connection.execute(
        """
        update wallets w
        set available = k.available, reserved = k.reserved, entry_seq = k.entry_seq,
            event_seq = k.event_seq
        from unnest($1::smallint[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[],
                    $6::bigint[])
             k (lane, reseller_id, available, reserved, entry_seq, event_seq)
        where w.lane = k.lane and w.reseller_id = k.reseller_id and w.lane = any($1::smallint[])
        """,
        [lane for lane, _ in wallets],
        [reseller_id for _, reseller_id in wallets],
        *columns(wallets.values(), "available", "reserved", "entry_seq", "event_seq"),
    )


async def find_reference(connection: Connection, key: WalletKey, reference: str) -> int | None:
    """The amount that was booked under a deposit's reference, in rupiah."""
    return await connection.fetchval(
        """
        select available_delta from ledger_entries
        where lane = $1 and reseller_id = $2 and reference = $3
        """,
        *key,
        reference,
    )
