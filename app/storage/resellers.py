"""Resellers: who may order, at which prices; each has one wallet from the first moment on.

resellers(lane, reseller_id, name, tier, status, orders_rate, reads_rate)
wallets(lane, reseller_id, credit_limit, …)
    unique (lane, reseller_id)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.storage.lanes import lane_of
from app.storage.pool import Connection, transposed

_NAMES_LOCK = 0x6E616D6573  # "names"


@dataclass(frozen=True, slots=True)
class NewReseller:
    """A reseller to create. `credit_limit` in rupiah; `tier` names the prices it pays."""

    reseller_id: UUID
    name: str
    tier: str = "standard"
    credit_limit: int = 0
    test_of: UUID | None = None
    """Whose test side it is."""


@dataclass(frozen=True, slots=True)
class Account:
    """A reseller as it stands, with its money in rupiah."""

    lane: int
    reseller_id: UUID
    name: str
    tier: str
    status: str
    created_at: datetime
    available: int
    reserved: int
    credit_limit: int
    orders_rate: str | None
    """Its own, as `app.rates` writes it; None: that of the settings."""
    reads_rate: str | None
    test: bool = False
    """Whether it is the test side of another one."""
    twin_id: UUID | None = None
    """The reseller on the other side, where there is one."""


def key_of(reseller_id: UUID) -> tuple[int, UUID]:
    """A reseller as tables key it: lane and id."""
    return lane_of(reseller_id), reseller_id


async def create(connection: Connection, new: NewReseller) -> int:
    """Insert a reseller and its empty wallet. Returns its lane."""
    lane = lane_of(new.reseller_id)
    await connection.execute(
        """
        with reseller as (
            insert into resellers (lane, reseller_id, name, tier, test, twin_lane, twin_id)
            values ($1, $2, $3, $4, $7::uuid is not null, $6, $7)
        )
        insert into wallets (lane, reseller_id, credit_limit) values ($1, $2, $5)
        """,
        lane,
        new.reseller_id,
        new.name,
        new.tier,
        new.credit_limit,
        None if new.test_of is None else lane_of(new.test_of),
        new.test_of,
    )
    return lane


async def set_twin(connection: Connection, lane: int, reseller_id: UUID, twin_id: UUID) -> None:
    """Tell a reseller which one is its test side."""
    await connection.execute(
        "update resellers set twin_lane = $3, twin_id = $4 where lane = $1 and reseller_id = $2",
        lane,
        reseller_id,
        lane_of(twin_id),
        twin_id,
    )


async def accounts(
    connection: Connection,
    *,
    reseller_id: UUID | None = None,
    name: str | None = None,
    after: UUID | None = None,
    limit: int | None = None,
) -> list[Account]:
    """Resellers by id: the one with this id, those with this name, or those behind another one."""
    rows = await connection.fetch(
        """
        select r.lane, r.reseller_id, r.name, r.tier, r.status, r.created_at,
               w.available, w.reserved, w.credit_limit, r.orders_rate, r.reads_rate, r.test,
               r.twin_id
        from resellers r
        join wallets w on w.lane = r.lane and w.reseller_id = r.reseller_id
        where ($1::uuid is null or r.reseller_id = $1)
          and ($2::text is null or r.name = $2)
          and ($3::uuid is null or r.reseller_id > $3)
        order by r.reseller_id
        limit $4
        """,
        reseller_id,
        name,
        after,
        limit,
    )
    return [Account(*row) for row in rows]


async def update(connection: Connection, account: Account) -> None:
    """Write a reseller's name, tier, status and credit limit and rates.

    Tier and status are its test side's as well.
    """
    await connection.execute(
        """
        with limited as (
            update wallets set credit_limit = $6
            where lane = $1 and reseller_id = $2 and credit_limit <> $6
        ), test_side as (
            update resellers set tier = $4, status = $5
            where test and lane = $9 and reseller_id = $10
        )
        update resellers set name = $3, tier = $4, status = $5, orders_rate = $7, reads_rate = $8
        where lane = $1 and reseller_id = $2
        """,
        account.lane,
        account.reseller_id,
        account.name,
        account.tier,
        account.status,
        account.credit_limit,
        account.orders_rate,
        account.reads_rate,
        None if account.twin_id is None else lane_of(account.twin_id),
        account.twin_id,
    )


async def lock_names(connection: Connection) -> None:
    """Have names given one after the other until the transaction ends."""
    await connection.execute("select pg_advisory_xact_lock($1)", _NAMES_LOCK)


async def lock(connection: Connection, lane: int, reseller_id: UUID) -> None:
    """Lock the reseller's row, so that changes of what it owns come one after the other."""
    await connection.execute(
        "select from resellers where lane = $1 and reseller_id = $2 for update", lane, reseller_id
    )


async def is_test(connection: Connection, lane: int, reseller_id: UUID) -> bool:
    """Whether a reseller is the test side of another one."""
    return await connection.fetchval(
        "select exists (select from resellers where lane = $1 and reseller_id = $2 and test)",
        lane,
        reseller_id,
    )


async def tiers(
    connection: Connection, keys: Sequence[tuple[int, UUID]]
) -> dict[tuple[int, UUID], str]:
    """The tiers of resellers, by (lane, reseller id)."""
    rows = await connection.fetch(
        """
        select r.lane, r.reseller_id, r.tier
        from unnest($1::smallint[], $2::uuid[]) k (lane, reseller_id)
        join resellers r on r.lane = k.lane and r.reseller_id = k.reseller_id
        """,
        *transposed(keys, 2),
    )
    return {(row[0], row[1]): row[2] for row in rows}
