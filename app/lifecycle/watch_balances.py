"""Watch balances: tell resellers once when their money falls below what they asked for."""

from datetime import datetime
from uuid import UUID

from app.lifecycle.tell import tell
from app.storage import balance_alerts, endpoints
from app.storage.pool import LOCKED, Connection, Pool
from app.words import EventType
from schemas.money import CURRENCY

_MOST_AT_ONCE = 100


async def watch_balances(pool: Pool, now: datetime) -> int:
    """Look once. Returns how many resellers were told.

    A wallet that its orders hold is looked at again the next time.
    """
    told = 0
    async with pool.acquire() as connection:
        for key in await balance_alerts.crossings(connection, _MOST_AT_ONCE):
            try:
                async with connection.transaction():
                    told += await _tell_if_low(connection, *key, now)
            except LOCKED:
                continue
    return told


async def _tell_if_low(connection: Connection, lane: int, reseller_id: UUID, now: datetime) -> bool:
    low = await balance_alerts.cross(connection, lane, reseller_id)
    if low is None:
        return False
    key = (lane, reseller_id)
    wanted = [
        each.endpoint_id
        for each in await endpoints.of_resellers(connection, [key])
        if each.wants(EventType.BALANCE_LOW)
    ]
    data = {"available": low.available, "below": low.below, "currency": CURRENCY}
    await tell(connection, key, EventType.BALANCE_LOW, data, now.isoformat(), wanted)
    return True
