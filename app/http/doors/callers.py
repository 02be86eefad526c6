"""Who stands at a door: by the name of an account, its networks, and a proof of its secrets."""

import hmac
import re
from collections.abc import Callable
from datetime import UTC, datetime

from starlette.requests import Request

from app.errors import Forbidden, Unauthorized, Unavailable
from app.http.api import Api, address_of
from app.http.door_holders import Secrets, place_of
from app.http.limits import Policy
from app.networks import is_within
from app.storage.api_keys import KeyHolder

_NAME = re.compile(r"[!-~]{1,64}")
_RETRY_SECONDS = 60


async def caller_at(
    api: Api,
    request: Request,
    shape: str,
    name: str,
    proves: Callable[[Secrets], bool],
    policy: Policy,
) -> KeyHolder:
    """Who calls, counted once as a request of this kind.

    Raises Unauthorized, Forbidden for another network, TooManyRequests, Unavailable.
    """
    address = address_of(request.scope)
    # Before anything else: a PIN is short, and the right one must not be told from the wrong ones.
    api.failures.require_patience(address)
    try:
        caller = await _proven(api, address, shape, name, proves, policy)
    except Unauthorized:
        api.failures.count(address)
        raise
    await api.visits.admit(request.scope, caller, policy)
    return caller


async def _proven(
    api: Api,
    address: str,
    shape: str,
    name: str,
    proves: Callable[[Secrets], bool],
    policy: Policy,
) -> KeyHolder:
    """Who calls. A purchase may be a question about an order that stands, so nothing that has
    become of the account since is a refusal of it: it is pending until the account is open again.
    """
    holder = await api.doors.find(place_of(shape, name)) if _NAME.fullmatch(name) else None
    if holder is None:
        raise _unknown()
    if holder.door.networks and not is_within(address, holder.door.networks):
        if policy == "orders":
            raise _closed("This account is not open to your address.")
        raise Forbidden("forbidden", "This account is not open to your address.")
    if holder.secrets is None:
        raise _closed("The account cannot be read now; ask again.")
    if not any(proves(secrets) for secrets in holder.in_force(datetime.now(UTC))):
        raise _unknown()
    if holder.door.suspended:
        raise _closed("This account is closed for now.") if policy == "orders" else _unknown()
    return holder.caller


def same(given: str, due: str) -> bool:
    """Whether two texts are the same, compared in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), due.encode())


def _closed(why: str) -> Unavailable:
    return Unavailable("unavailable", why, retry_after_seconds=_RETRY_SECONDS)


def _unknown() -> Unauthorized:
    return Unauthorized("invalid-key", "This account is unknown, removed, or signs otherwise.")
