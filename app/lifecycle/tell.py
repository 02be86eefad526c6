"""Tell: an event about something other than an order, with its deliveries."""

from collections.abc import Sequence
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from app.storage import ledger, resellers
from app.storage.ledger import Errand, News
from app.storage.pool import Connection
from app.words import EventType


async def tell(
    connection: Connection,
    key: tuple[int, UUID],
    kind: EventType,
    data: object,
    timestamp: str,
    to: Sequence[UUID],
) -> list[UUID]:
    """Write an event for a reseller, by (lane, reseller id), and a delivery to each endpoint.

    Call it in a transaction: it takes the wallet's lock, by which events are numbered. Returns the
    deliveries' ids in the order of `to`.
    """
    body: dict[str, object] = {"type": kind, "timestamp": timestamp, "data": data}
    if await resellers.is_test(connection, *key):
        body["test"] = True
    news = News(*key, uuid7(), kind, None, None, orjson.dumps(body).decode())
    errands = [Errand(key[0], uuid7(), endpoint_id, news.event_id, None) for endpoint_id in to]
    await ledger.write(connection, [], [news], errands)
    return [each.delivery_id for each in errands]
