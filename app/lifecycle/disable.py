"""Disable: stop sending to an endpoint that is gone or fails for days, and say so elsewhere.

What is to be told goes on collecting for it and is sent in order once it is enabled again.
"""

from uuid import UUID

from app.lifecycle.tell import tell
from app.storage import endpoints
from app.storage.pool import Connection
from app.words import EventType


async def disable(connection: Connection, lane: int, endpoint_id: UUID, reason: str) -> bool:
    """Disable an endpoint and tell the reseller's other ones. Returns whether it was active.

    Call it in a transaction. `reason` is `gone` or `failing`.
    """
    disabled = await endpoints.disable(connection, lane, endpoint_id, reason)
    if disabled is None:
        return False
    key = (lane, disabled.reseller_id)
    others = [
        each.endpoint_id
        for each in await endpoints.of_resellers(connection, [key])
        if each.endpoint_id != endpoint_id and each.wants(EventType.ENDPOINT_DISABLED)
    ]
    since = disabled.failing_since
    data = {
        "endpoint_id": str(endpoint_id),
        "url": disabled.url,
        "description": disabled.description,
        "reason": reason,
        "failing_since": since and since.isoformat(),
    }
    assert disabled.disabled_at is not None  # noqa: S101 (just set)
    at = disabled.disabled_at.isoformat()
    await tell(connection, key, EventType.ENDPOINT_DISABLED, data, at, others)
    return True
