"""The feed of events as they are committed: one reader a process for everybody who listens.

A listener that has caught up stands in its reseller's channel and is handed what the reader reads,
encoded once for all. One that has fallen behind reads on by itself, at its own pace, until it has
caught up; so what waits in memory for a slow one is bounded, and nothing is skipped or told twice:
events are numbered by reseller without a gap, in the order of their commits.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

import structlog

from app.activities import until_one_fails
from app.errors import Problem, TooManyRequests, Unavailable
from app.http.pages import seq_cursor
from app.metrics import Metrics
from app.storage import events
from app.storage.api_keys import KeyHolder
from app.storage.events import Event, Place
from app.storage.hints import Hints, Topic
from app.storage.pool import DATABASE_ERRORS, Pool
from schemas.events import webhook_id

log = structlog.get_logger()

CURSOR_KIND = "events"

_POLL_SECONDS = 0.5
_GAP_SECONDS = 0.02
_REST = 1
"""The reader rests so many times as long as it read, so that the database is not only for it."""
_CHANNELS_AT_ONCE = 256
_EVENTS_AT_ONCE = 50
_PAGE = 100
_MOST_READING = 4
"""Listeners that read on by themselves at once; orders need the connections more."""
_MOST_WAITING_BYTES = 131_072
_ROUND_SECONDS = 1.0
_SILENCE_SECONDS = 15.0
_STUCK_SECONDS = 10.0
_RETRY_SECONDS = 5


class End(StrEnum):
    """Why a stream ends."""

    GONE = "gone"
    """The client closed it."""
    REVOKED = "revoked"
    SLOW = "slow"
    """The client takes nothing any more."""
    STOPPING = "stopping"
    FAILED = "failed"
    """The database was away when the stream had to read."""


class Frame(NamedTuple):
    """An event as it is sent."""

    seq: int
    type: str
    content: bytes


def frame_of(event: Event) -> Frame:
    """An event in the form of server-sent events; its data is what webhooks carry, and its id."""
    # JSON text of an object on one line, so that another member fits in front.
    text = (
        f"id: {seq_cursor(CURSOR_KIND, event.event_seq)}\nevent: {event.type}\n"
        f'data: {{"id":"{webhook_id(event.event_id)}",{event.payload[1:]}\n\n'
    )
    return Frame(event.event_seq, event.type, text.encode())


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """How many may listen."""

    streams: int = 2000
    """A process."""
    streams_a_key: int = 16


class Listener:
    """Somebody who listens: how far it was told, and what waits to be sent to it."""

    __slots__ = (
        "_bytes",
        "_frames",
        "_news",
        "_sending_since",
        "_sent_at",
        "_welcome",
        "abort",
        "caller",
        "end",
        "is_live",
        "told_to",
        "types",
    )

    def __init__(
        self,
        caller: KeyHolder,
        types: frozenset[str] | None,
        after_seq: int,
        welcome: Callable[[], Awaitable[KeyHolder]],
        abort: Callable[[], None],
    ) -> None:
        """`types`: the events that it wants, or all. `welcome` raises Problem once the key is good
        no more. `abort` cuts the connection, whatever waits in it."""
        self.caller = caller
        self.types = types
        self.told_to = after_seq
        """The number up to which all that it wants was taken or waits."""
        self.is_live = False
        self.end: End | None = None
        self.abort = abort
        self._sent_at = 0.0
        self._sending_since: float | None = None
        self._welcome = welcome
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._news = asyncio.Event()

    @property
    def place(self) -> Place:
        """How far it was told."""
        return Place(self.caller.lane, self.caller.reseller_id, self.told_to)

    def offer(self, frames: Iterable[Frame]) -> None:
        """Let what is new to it wait; where that is too much, it is to read on by itself."""
        for frame in frames:
            if frame.seq <= self.told_to or not self.is_live:
                continue
            if self._bytes > _MOST_WAITING_BYTES:
                self.is_live = False
                return
            self.told_to = frame.seq
            if self.types is None or frame.type in self.types:
                self._frames.append(frame.content)
                self._bytes += len(frame.content)
                self._news.set()

    def take(self) -> bytes:
        """All that waits; nothing may."""
        taken = b"".join(self._frames)
        self._frames.clear()
        self._bytes = 0
        return taken

    async def wait(self) -> None:
        """Return when there is something to send, or the end."""
        await self._news.wait()
        self._news.clear()

    @contextmanager
    def sending(self) -> Generator[None]:
        """While something is sent: a client that does not take it for long is cut off."""
        self._sending_since = self._sent_at = time.monotonic()
        yield
        self._sending_since = None

    def finish(self, why: End) -> None:
        """End the stream; where the client does not take what is being sent, by cutting it."""
        if self.end is None:
            self.end = why
            self._news.set()
            if self._sending_since is not None:
                self.abort()

    async def check(self, now: float) -> None:
        """End the stream where it must; wake it where it was silent for long."""
        if self._sending_since is not None and now - self._sending_since > _STUCK_SECONDS:
            self.finish(End.SLOW)
        elif now - self._sent_at >= _SILENCE_SECONDS:
            self._news.set()
        try:
            await self._welcome()
        except Problem:
            self.finish(End.REVOKED)


class _Channel:
    """A reseller's listeners that are told as the reader reads, and how far it has read."""

    __slots__ = ("listeners", "read_to")

    def __init__(self, read_to: int) -> None:
        self.read_to = read_to
        self.listeners: set[Listener] = set()


_Key = tuple[int, UUID]


class EventFeed:
    """All that listen in this process. `run` must run for them to be told anything."""

    def __init__(
        self,
        pool: Pool,
        hints: Hints,
        metrics: Metrics,
        limits: FeedLimits,
        connection_seconds: float,
        stopping: asyncio.Event,
    ) -> None:
        """`stopping` is set when the process stops: every stream ends then, and none begins."""
        self._pool = pool
        self._hints = hints
        self._metrics = metrics
        self._limits = limits
        self._connection_seconds = connection_seconds
        self._stopping = stopping
        self._channels: dict[_Key, _Channel] = {}
        self._listeners: set[Listener] = set()
        self._by_key: Counter[str] = Counter()
        self._reading = asyncio.Semaphore(_MOST_READING)

    def admit(self, listener: Listener) -> None:
        """Let it listen until `leave`. Raises TooManyRequests, Unavailable."""
        if self._stopping.is_set():
            raise Unavailable(
                "not-ready", "This process is stopping.", retry_after_seconds=_RETRY_SECONDS
            )
        if self._by_key[listener.caller.key_id] >= self._limits.streams_a_key:
            raise TooManyRequests(
                "too-many-streams",
                f"A key may have {self._limits.streams_a_key} streams open here: close one.",
                retry_after_seconds=_RETRY_SECONDS,
            )
        if len(self._listeners) >= self._limits.streams:
            raise Unavailable(
                "overloaded", "Too many streams are open.", retry_after_seconds=_RETRY_SECONDS
            )
        self._listeners.add(listener)
        self._by_key[listener.caller.key_id] += 1
        self._metrics.event_streams(len(self._listeners))

    def leave(self, listener: Listener) -> None:
        """The listener is gone."""
        self._listeners.discard(listener)
        self._by_key[listener.caller.key_id] -= 1
        if not self._by_key[listener.caller.key_id]:
            del self._by_key[listener.caller.key_id]
        self._part(listener)
        self._metrics.event_streams(len(self._listeners))
        self._metrics.event_stream_ended(listener.end or End.GONE)

    async def newest(self, caller: KeyHolder) -> int:
        """The number of a reseller's newest event. Raises what a database may."""
        async with (
            self._reading,
            self._pool.acquire(timeout=self._connection_seconds) as connection,
        ):
            return await events.newest_seq(connection, caller.lane, caller.reseller_id)

    async def read_on(self, listener: Listener) -> bytes:
        """A page of what a listener that fell behind was not told yet; it is live once it has
        caught up. Raises what a database may."""
        self._part(listener)
        place = listener.place
        async with (
            self._reading,
            self._pool.acquire(timeout=self._connection_seconds) as connection,
        ):
            page = await events.of_reseller(
                connection, place.lane, place.reseller_id, place.event_seq, _PAGE
            )
        if page:
            listener.told_to = page[-1].event_seq
        if len(page) < _PAGE:
            self._join(listener)
        wanted = (event for event in page if listener.types is None or event.type in listener.types)
        return b"".join(frame_of(event).content for event in wanted)

    def _join(self, listener: Listener) -> None:
        """Stand in the channel, unless that has read what the listener has not."""
        key = (listener.caller.lane, listener.caller.reseller_id)
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = _Channel(listener.told_to)
        if listener.told_to >= channel.read_to:
            channel.listeners.add(listener)
            listener.is_live = True

    def _part(self, listener: Listener) -> None:
        listener.is_live = False
        key = (listener.caller.lane, listener.caller.reseller_id)
        channel = self._channels.get(key)
        if channel is not None:
            channel.listeners.discard(listener)
            if not channel.listeners:
                del self._channels[key]

    # -------------------------------------------------------------- for all of them

    async def run(self) -> None:
        """Tell everybody until cancelled."""
        await until_one_fails(self._tell(), self._look_after(), self._end_all())

    async def _tell(self) -> None:
        while True:
            await self._hints.wait(Topic.EVENT, _POLL_SECONDS)
            if not self._channels:
                continue
            started = time.monotonic()
            try:
                while await self._read():
                    pass
            except DATABASE_ERRORS as error:
                log.warning("events.not_read", reason=f"{type(error).__name__}: {error}")
            await asyncio.sleep(max(_GAP_SECONDS, (time.monotonic() - started) * _REST))

    async def _read(self) -> bool:
        """Read what is new and hand it out. Returns whether there may be more already."""
        channels = list(self._channels.items())
        more = False
        for first in range(0, len(channels), _CHANNELS_AT_ONCE):
            asked = dict(channels[first : first + _CHANNELS_AT_ONCE])
            places = [Place(*key, channel.read_to) for key, channel in asked.items()]
            async with self._pool.acquire(timeout=self._connection_seconds) as connection:
                rows = await events.behind(connection, places, _EVENTS_AT_ONCE)
            for key, told in _by_reseller(rows).items():
                self._hand_out(key, asked[key], told)
                more = more or len(told) == _EVENTS_AT_ONCE
        return more

    def _hand_out(self, key: _Key, channel: _Channel, told: Sequence[Event]) -> None:
        # Another channel may stand there by now, which reads from another place on.
        if self._channels.get(key) is channel:
            frames = [frame_of(event) for event in told]
            channel.read_to = frames[-1].seq
            for listener in channel.listeners:
                listener.offer(frames)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(_ROUND_SECONDS)
            now = time.monotonic()
            for listener in list(self._listeners):
                try:
                    await listener.check(now)
                except DATABASE_ERRORS as error:
                    # Whether the key is still good cannot be known now: the next round asks again.
                    log.warning("keys.not_refreshed", reason=f"{type(error).__name__}: {error}")
                    break

    async def _end_all(self) -> None:
        await self._stopping.wait()
        for listener in list(self._listeners):
            listener.finish(End.STOPPING)
        await asyncio.Event().wait()


def _by_reseller(rows: Iterable[Event]) -> dict[_Key, list[Event]]:
    found: dict[_Key, list[Event]] = {}
    for row in rows:
        found.setdefault((row.lane, row.reseller_id), []).append(row)
    return found
