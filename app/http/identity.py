"""Who calls: keys and operators' tokens, checked against a cache that forgets within a second.

A revoked key or a suspended reseller is refused everywhere at most that long afterwards. Twice a
second each process asks whether anything changed about keys, tokens and resellers; only then are
those in use read anew, together.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import Any, Generic, Protocol, TypeVar

import structlog

from app.errors import Unauthorized
from app.http.failures import Failures
from app.storage import tokens
from app.storage.pool import DATABASE_ERRORS, Connection, Pool
from app.storage.tokens import PresentedKey

log = structlog.get_logger()

_SCHEME = "bearer "
_REMEMBERED_SECONDS = 1.0
_REFRESH_SECONDS = 0.5
_IN_USE_SECONDS = 30.0
_REMEMBERED_KEYS = 20_000
_READ_AT_ONCE = 1024
_REFRESHED_KEYS = 4096
"""The keys used last; the others are looked up when they are used again."""


class Holder(Protocol):
    """Whose key it is."""

    def matches(self, presented: PresentedKey) -> bool:
        """Whether this is the key presented, compared in constant time."""
        ...


H = TypeVar("H", bound=Holder)


@dataclass(frozen=True, slots=True)
class _Known(Generic[H]):
    """What was read about a key: None where there is none."""

    holder: H | None
    valid_until: float
    revision: int
    """The newest that was seen before it was read."""


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
        failures: Failures,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`parse` reads a token, `find` reads the holders of keys by their ids."""
        self._pool = pool
        self._connection_seconds = connection_seconds
        self._parse = parse
        self._find_holders = find
        self._failures = failures
        self._monotonic = monotonic
        self._known: OrderedDict[str, _Known[H]] = OrderedDict()
        self._revision = 0
        self._unchanged_until = 0.0
        """Until when all that was read under `_revision` may be trusted."""
        self._wanted: dict[str, asyncio.Future[H | None]] = {}
        """Keys that are to be read next, each with all who wait for it."""
        self._reading: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Future[None] | None = None
        self._used: dict[str, float] = {}
        """When each key was used last."""
        self._presented: OrderedDict[bytes, PresentedKey] = OrderedDict()
        """Sound keys by the hash of the header they came in: the key itself is not kept."""

    async def identify(self, authorization: str | None, address: str) -> H:
        """The holder of the key in an `Authorization` header that came from an address.

        Raises Unauthorized; TooManyRequests where too many wrong ones came from there, unless this
        one is known already.
        """
        slowed = self._failures.wait_seconds(address) > 0
        if slowed and self.recognised(digest_of(authorization or "")) is None:
            self._failures.require_patience(address)
        try:
            return await self._identify(authorization or "")
        except Unauthorized:
            self._failures.count(address)
            raise

    async def _identify(self, authorization: str) -> H:
        presented = self._read(authorization)
        holder = await self.find(presented.key_id)
        if holder is None or not holder.matches(presented):
            raise Unauthorized("invalid-key", "This key is unknown or revoked.")
        return holder

    def recognised(self, digest: bytes) -> H | None:
        """Whose key it was when it was last looked up, which may be a while ago. By `digest_of`."""
        presented = self._presented.get(digest)
        known = None if presented is None else self._known.get(presented.key_id)
        if presented is None or known is None or known.holder is None:
            return None
        return known.holder if known.holder.matches(presented) else None

    def recall(self, authorization: str, address: str) -> H | None:
        """As `identify`, of what is in memory only; None where that is not enough to let it in."""
        if self._failures.wait_seconds(address) > 0:
            return None
        presented = self._presented.get(digest_of(authorization))
        known = None if presented is None else self._known.get(presented.key_id)
        if presented is None or known is None or known.holder is None:
            return None
        now = self._monotonic()
        if not self._may_be_trusted(known, now) or not known.holder.matches(presented):
            return None
        self._used[presented.key_id] = now
        return known.holder

    async def run(self) -> None:
        """Keep the keys in use fresh until cancelled."""
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            try:
                await self.refresh()
            except DATABASE_ERRORS as error:
                log.warning("keys.not_refreshed", reason=f"{type(error).__name__}: {error}")

    async def refresh(self) -> None:
        """Trust what is known for another while; where something changed, read the keys in use."""
        now = self._monotonic()
        async with self._pool.acquire(timeout=self._connection_seconds) as connection:
            revision = await tokens.revision(connection)
            if revision != self._revision:
                self._revision = revision
                await self._read_those_in_use(connection, now)
        self._unchanged_until = now + _REMEMBERED_SECONDS

    async def _read_those_in_use(self, connection: Connection, now: float) -> None:
        latest = sorted(self._used.items(), key=itemgetter(1), reverse=True)[:_REFRESHED_KEYS]
        self._used = {key_id: used for key_id, used in latest if used > now - _IN_USE_SECONDS}
        if not self._used:
            return
        asked, revision = list(self._used), self._revision
        found = await self._find_holders(connection, asked)
        for key_id in asked:
            self._remember(key_id, _Known(found.get(key_id), now + _REMEMBERED_SECONDS, revision))

    def _read(self, authorization: str) -> PresentedKey:
        digest = digest_of(authorization)
        presented = self._presented.get(digest)
        if presented is None:
            presented = self._presented[digest] = self._parsed(authorization)
            _forget_oldest(self._presented)
        return presented

    async def find(self, key_id: str) -> H | None:
        """The holder of a key, whoever asks: to be let in, it must still prove itself."""
        known, now = self._known.get(key_id), self._monotonic()
        if known is not None and not self._may_be_trusted(known, now):
            if known.revision == self._revision:
                await self._refreshed()
            known, now = self._known.get(key_id), self._monotonic()
        if known is not None and self._may_be_trusted(known, now):
            if known.holder is not None:
                self._used[key_id] = now
            return known.holder
        return await self._look_up(key_id)

    async def _refreshed(self) -> None:
        """Refresh, once for all who wait for it: a process that is late with it must not look its
        keys up one by one besides."""
        if self._refreshing is None:
            self._refreshing = asyncio.ensure_future(self.refresh())
            self._refreshing.add_done_callback(self._refresh_over)
        await asyncio.shield(self._refreshing)

    def _refresh_over(self, _: "asyncio.Future[None]") -> None:
        self._refreshing = None

    def _may_be_trusted(self, known: _Known[H], now: float) -> bool:
        unchanged = known.revision == self._revision and self._unchanged_until > now
        return unchanged or known.valid_until > now

    async def _look_up(self, key_id: str) -> H | None:
        """Read the key: once, however many wait for it, and with the others that are wanted."""
        wanted = self._wanted.get(key_id)
        if wanted is None:
            wanted = self._wanted[key_id] = asyncio.get_running_loop().create_future()
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_wanted())
        return await asyncio.shield(wanted)

    async def _read_wanted(self) -> None:
        """Read what is wanted, one statement after the other, until nothing is.

        What comes while one is under way waits for the next, so that nobody is told what was so
        before they asked; and a burst of callers who were not seen for a while costs a few
        statements and one connection, not one for each of them.
        """
        try:
            while self._wanted:
                some = list(islice(self._wanted, _READ_AT_ONCE))
                await self._read_some({key_id: self._wanted.pop(key_id) for key_id in some})
        finally:
            self._reading = None

    async def _read_some(self, wanted: "dict[str, asyncio.Future[H | None]]") -> None:
        """Tell those who wait for these keys, of which some may have become known meanwhile."""
        revision, now = self._revision, self._monotonic()
        for key_id in list(wanted):
            known = self._known.get(key_id)
            if known is not None and self._may_be_trusted(known, now):
                wanted.pop(key_id).set_result(known.holder)
        if not wanted:
            return
        try:
            async with self._pool.acquire(timeout=self._connection_seconds) as connection:
                found = await self._find_holders(connection, list(wanted))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            for waiting in wanted.values():
                waiting.set_exception(error)
                waiting.exception()  # those who went away leave nothing unobserved
            return
        used_at = self._monotonic()
        for key_id, waiting in wanted.items():
            holder = found.get(key_id)
            self._remember(key_id, _Known(holder, now + _REMEMBERED_SECONDS, revision))
            if holder is not None:
                self._used[key_id] = used_at
            waiting.set_result(holder)

    def _parsed(self, authorization: str) -> PresentedKey:
        if not authorization:
            raise Unauthorized("invalid-key", "A key is needed: `Authorization: Bearer jalur_…`.")
        scheme, token = authorization[: len(_SCHEME)], authorization[len(_SCHEME) :]
        presented = self._parse(token) if scheme.lower() == _SCHEME else None
        if presented is None:
            raise Unauthorized("invalid-key", "This is not a key for here: is it complete?")
        return presented

    def _remember(self, key_id: str, known: _Known[H]) -> None:
        self._known[key_id] = known
        self._known.move_to_end(key_id)
        _forget_oldest(self._known)


def digest_of(authorization: str) -> bytes:
    """What an `Authorization` header is remembered by: the key in it is not kept."""
    return hashlib.sha256(authorization.encode()).digest()


def _forget_oldest(cache: OrderedDict[Any, Any]) -> None:
    while len(cache) > _REMEMBERED_KEYS:
        cache.popitem(last=False)
