"""Who calls: keys and operators' tokens, checked against a cache that forgets within a second.

A revoked key or a suspended reseller is refused everywhere at most that long afterwards. The keys
in use are read anew together, twice a second, so that a thousand resellers are one statement.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Generic, Protocol, TypeVar

import structlog

from app.errors import Unauthorized
from app.storage.pool import DATABASE_ERRORS, Connection, Pool
from app.storage.tokens import PresentedKey

log = structlog.get_logger()

_SCHEME = "bearer "
_REMEMBERED_SECONDS = 1.0
_REFRESH_SECONDS = 0.5
_IN_USE_SECONDS = 30.0
_REMEMBERED_KEYS = 20_000
_REFRESHED_KEYS = 4096
"""The keys used last; the others are looked up when they are used again."""


class Holder(Protocol):
    """Whose key it is."""

    def matches(self, presented: PresentedKey) -> bool:
        """Whether this is the key presented, compared in constant time."""
        ...


H = TypeVar("H", bound=Holder)


class Authenticator(Generic[H]):
    """Looks keys up, each at most once a second a process, unknown ones included.

    While `run` runs, keys in use are kept fresh and nobody waits for a look-up.
    """

    def __init__(
        self,
        pool: Pool,
        connection_seconds: float,
        parse: Callable[[str], PresentedKey | None],
        find: Callable[[Connection, Sequence[str]], Awaitable[Mapping[str, H]]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`parse` reads a token, `find` reads the holders of keys by their ids."""
        self._pool = pool
        self._connection_seconds = connection_seconds
        self._parse = parse
        self._find_holders = find
        self._monotonic = monotonic
        self._known: OrderedDict[str, tuple[float, H | None]] = OrderedDict()
        self._reading: dict[str, asyncio.Lock] = {}
        self._used: dict[str, float] = {}
        """When each key was used last."""
        self._presented: OrderedDict[bytes, PresentedKey] = OrderedDict()
        """Sound keys by the hash of the header they came in: the key itself is not kept."""

    async def identify(self, authorization: str | None) -> H:
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
        """Read the keys in use anew, in one statement."""
        now = self._monotonic()
        latest = sorted(self._used.items(), key=itemgetter(1), reverse=True)[:_REFRESHED_KEYS]
        self._used = {key_id: used for key_id, used in latest if used > now - _IN_USE_SECONDS}
        if not self._used:
            return
        asked = list(self._used)
        async with self._pool.acquire(timeout=self._connection_seconds) as connection:
            found = await self._find_holders(connection, asked)
        for key_id in asked:
            self._remember(key_id, found.get(key_id), now + _REMEMBERED_SECONDS)

    def _read(self, authorization: str) -> PresentedKey:
        digest = hashlib.sha256(authorization.encode()).digest()
        presented = self._presented.get(digest)
        if presented is None:
            presented = self._presented[digest] = self._parsed(authorization)
            _forget_oldest(self._presented)
        return presented

    async def _find(self, key_id: str) -> H | None:
        known, now = self._known.get(key_id), self._monotonic()
        if known is not None and known[0] > now:
            if known[1] is not None:
                self._used[key_id] = now
            return known[1]
        return await self._look_up(key_id)

    async def _look_up(self, key_id: str) -> H | None:
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
            if holder is not None:
                self._used[key_id] = self._monotonic()
            return holder

    async def _read_from_database(self, key_id: str) -> H | None:
        async with self._pool.acquire(timeout=self._connection_seconds) as connection:
            return (await self._find_holders(connection, [key_id])).get(key_id)

    def _parsed(self, authorization: str) -> PresentedKey:
        if not authorization:
            raise Unauthorized("invalid-key", "A key is needed: `Authorization: Bearer jalur_…`.")
        scheme, token = authorization[: len(_SCHEME)], authorization[len(_SCHEME) :]
        presented = self._parse(token) if scheme.lower() == _SCHEME else None
        if presented is None:
            raise Unauthorized("invalid-key", "This is not a key for here: is it complete?")
        return presented

    def _remember(self, key_id: str, holder: H | None, valid_until: float) -> None:
        self._known[key_id] = (valid_until, holder)
        self._known.move_to_end(key_id)
        _forget_oldest(self._known)


def _forget_oldest(cache: OrderedDict[Any, Any]) -> None:
    while len(cache) > _REMEMBERED_KEYS:
        cache.popitem(last=False)
