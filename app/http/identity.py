"""Who calls: API keys, checked against a cache that forgets within a second.

A revoked key or a suspended reseller is refused everywhere at most that long afterwards. The keys
in use are read anew together, twice a second, so that a thousand resellers are one statement.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import structlog

from app.errors import Unauthorized
from app.storage import api_keys
from app.storage.api_keys import KeyHolder, PresentedKey
from app.storage.pool import DATABASE_ERRORS, Pool

log = structlog.get_logger()

_SCHEME = "bearer "
_REMEMBERED_SECONDS = 1.0
_REFRESH_SECONDS = 0.5
_REMEMBERED_KEYS = 20_000


class Authenticator:
    """Looks keys up, each at most once a second a process, unknown ones included.

    While `run` runs, keys in use are kept fresh and nobody waits for a look-up.
    """

    def __init__(
        self,
        pool: Pool,
        connection_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._connection_seconds = connection_seconds
        self._monotonic = monotonic
        self._known: OrderedDict[str, tuple[float, KeyHolder | None]] = OrderedDict()
        self._reading: dict[str, asyncio.Lock] = {}
        self._used: set[str] = set()
        self._presented: OrderedDict[bytes, PresentedKey] = OrderedDict()
        """Sound keys by the hash of the header they came in: the key itself is not kept."""

    async def identify(self, authorization: str | None) -> KeyHolder:
        """The holder of the key in an `Authorization` header. Raises Unauthorized."""
        presented = self._read(authorization or "")
        holder = await self._find(presented.key_id)
        if holder is None or not holder.matches(presented):
            raise Unauthorized("invalid-key", "This key is unknown or revoked.")
        return holder

    async def run(self) -> None:
        """Keep the keys in use fresh until cancelled."""
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            try:
                await self.refresh()
            except DATABASE_ERRORS as error:
                log.warning("keys.not_refreshed", reason=f"{type(error).__name__}: {error}")

    async def refresh(self) -> None:
        """Read the keys used since the last time anew, in one statement."""
        used, self._used = self._used, set()
        known = [key_id for key_id in used if self._known.get(key_id, _UNKNOWN)[1] is not None]
        if not known:
            return
        valid_until = self._monotonic() + _REMEMBERED_SECONDS
        async with self._pool.acquire(timeout=self._connection_seconds) as connection:
            found = await api_keys.find(connection, known)
        for key_id in known:
            self._remember(key_id, found.get(key_id), valid_until)

    def _read(self, authorization: str) -> PresentedKey:
        digest = hashlib.sha256(authorization.encode()).digest()
        presented = self._presented.get(digest)
        if presented is None:
            presented = self._presented[digest] = _parse(authorization)
            _forget_oldest(self._presented)
        return presented

    async def _find(self, key_id: str) -> KeyHolder | None:
        known = self._known.get(key_id)
        if known is not None and known[0] > self._monotonic():
            self._used.add(key_id)
            return known[1]
        return await self._look_up(key_id)

    async def _look_up(self, key_id: str) -> KeyHolder | None:
        """Read the key once, however many requests wait for it."""
        lock = self._reading.setdefault(key_id, asyncio.Lock())
        async with lock:
            known = self._known.get(key_id)
            if known is not None and known[0] > self._monotonic():
                return known[1]
            valid_until = self._monotonic() + _REMEMBERED_SECONDS
            try:
                holder = await self._read_from_database(key_id)
            finally:
                self._reading.pop(key_id, None)
            self._remember(key_id, holder, valid_until)
            return holder

    async def _read_from_database(self, key_id: str) -> KeyHolder | None:
        async with self._pool.acquire(timeout=self._connection_seconds) as connection:
            return (await api_keys.find(connection, [key_id])).get(key_id)

    def _remember(self, key_id: str, holder: KeyHolder | None, valid_until: float) -> None:
        self._known[key_id] = (valid_until, holder)
        self._known.move_to_end(key_id)
        _forget_oldest(self._known)


_UNKNOWN: tuple[float, KeyHolder | None] = (0.0, None)


def _forget_oldest(cache: OrderedDict[Any, Any]) -> None:
    while len(cache) > _REMEMBERED_KEYS:
        cache.popitem(last=False)


def _parse(authorization: str) -> PresentedKey:
    if not authorization:
        raise Unauthorized("invalid-key", "A key is needed: `Authorization: Bearer jalur_…`.")
    scheme, token = authorization[: len(_SCHEME)], authorization[len(_SCHEME) :]
    presented = api_keys.parse(token) if scheme.lower() == _SCHEME else None
    if presented is None:
        raise Unauthorized("invalid-key", "This is not a key of ours: is it complete?")
    return presented
