"""What the tests of operators' acts share: an operator, its log, a dealer to add."""

from dataclasses import replace
from typing import Any

from app.administration.dealers import NewDealer
from app.administration.operator import Operator, Scope
from app.administration.sheets import Placed
from app.lifecycle.trade import DealerLimits
from app.sealing import Sealer
from app.storage import audit, reference
from app.storage.audit import Act
from app.storage.pool import Pool
from app.storage.reference import PriceRow, ProductRow
from dealers.registry import load
from tests.shops import NOBODY, OTOMAX, SECRET_KEY

BY = Operator("cli:rina", "kantor")
LIMITS = DealerLimits(load(), Sealer([SECRET_KEY]), 45.0)
TRI5 = Placed("line 2", ProductRow("TRI5", "Tri 5.000", "tri", "pulsa", 5000))
TRI10 = Placed("line 3", ProductRow("TRI10", "Tri 10.000", "tri", "pulsa", 10_000))
NUSANTARA = NewDealer("nusantara", "Nusantara", "Grup N", "otomax", NOBODY, OTOMAX)


def only(*scopes: Scope) -> Operator:
    """An operator who may do nothing else."""
    return Operator("cli:budi", "kantor", frozenset(scopes))


def price(rupiah: int, tier: str = "standard", sku: str = "TRI5") -> Placed[PriceRow]:
    return Placed("line 2", PriceRow(tier, sku, rupiah))


def dealer(**fields: Any) -> NewDealer:
    return replace(NUSANTARA, **fields)


async def acts(pool: Pool) -> list[Act]:
    """What the audit log holds, the oldest first."""
    async with pool.acquire() as connection:
        lines = await audit.list_lines(connection, None, None, 1000)
    return [line.act for line in reversed(lines)]


async def revision(pool: Pool) -> int:
    async with pool.acquire() as connection:
        return await reference.revision(connection)


async def whole_log(pool: Pool) -> str:
    """Everything in the audit log, as text."""
    async with pool.acquire() as connection:
        return await connection.fetchval("select json_agg(a)::text from audit_log a")
