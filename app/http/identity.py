"""Who calls: keys and operators' tokens, checked against a cache that forgets within a second.

A revoked key or a suspended reseller is refused everywhere at most that long afterwards.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from app.errors import Unauthorized
from app.storage.pool import Connection, Pool
from app.storage.tokens import PresentedKey

_SCHEME = "bearer "
_REMEMBERED_SECONDS = 1.0
_REMEMBERED_KEYS = 20_000


class Holder(Protocol):
    """Whose key it is."""

    def matches(self, presented: PresentedKey) -> bool:
        """Whether this is the key presented, compared in constant time."""
        ...


H = TypeVar("H", bound=Holder)


class Authenticator(Generic[H]):
    """Looks keys up, each at most once a second a process, unknown ones included."""

    def __init__(
        self,
        pool: Pool,
        connection_seconds: float,
        parse: Callable[[str], PresentedKey | None],
        find: Callable[[Connection, str], Awaitable[H | None]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`parse` reads a token, `find` reads the holder of a key's id from the database."""
        self._pool = pool
        self._connection_seconds = connection_seconds
        self._parse = parse
        self._find_holder = find
        self._monotonic = monotonic
        self._known: OrderedDict[str, tuple[float, H | None]] = OrderedDict()
        self._reading: dict[str, asyncio.Lock] = {}

    async def identify(self, authorization: str | None) -> H:
        """The holder of the key in an `Authorization` header. Raises Unauthorized."""
        presented = self._read(authorization)
        holder = await self._find(presented.key_id)
        if holder is None or not holder.matches(presented):
            raise Unauthorized("invalid-key", "This key is unknown or revoked.")
        return holder

    async def _find(self, key_id: str) -> H | None:
        known = self._known.get(key_id)
        if known is not None and known[0] > self._monotonic():
            return known[1]
        return await self._look_up(key_id)

    async def _look_up(self, key_id: str) -> H | None:
        """Read the key once, however many requests wait for it."""
        lock = self._reading.setdefault(key_id, asyncio.Lock())
        async with lock:
            known = self._known.get(key_id)
            if known is not None and known[0] > self._monotonic():
                return known[1]
            try:
                holder = await self._read_from_database(key_id)
            finally:
                self._reading.pop(key_id, None)
            self._remember(key_id, holder)
            return holder

    async def _read_from_database(self, key_id: str) -> H | None:
        async with self._pool.acquire(timeout=self._connection_seconds) as connection:
            return await self._find_holder(connection, key_id)

    def _remember(self, key_id: str, holder: H | None) -> None:
        self._known[key_id] = (self._monotonic() + _REMEMBERED_SECONDS, holder)
        self._known.move_to_end(key_id)
        while len(self._known) > _REMEMBERED_KEYS:
            self._known.popitem(last=False)

    def _read(self, authorization: str | None) -> PresentedKey:
        if authorization is None:
            raise Unauthorized("invalid-key", "A key is needed: `Authorization: Bearer jalur_…`.")
        scheme, token = authorization[: len(_SCHEME)], authorization[len(_SCHEME) :]
        presented = self._parse(token) if scheme.lower() == _SCHEME else None
        if presented is None:
            raise Unauthorized("invalid-key", "This is not a key for here: is it complete?")
        return presented
