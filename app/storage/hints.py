"""Hints: "there is work", told at once in this process and over Redis to the others.

Redis carries nothing that matters: every loop also polls, so a lost hint costs at most one poll.
Publishing never holds up the caller; hints of the same topic that come while one is under way are
told together.
"""

import asyncio
import secrets
from collections.abc import Iterable
from enum import StrEnum

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from app.activities import until_one_fails

# The redis package leaves many of its types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeArgument=false
# pyright: reportUnknownParameterType=false

_CHANNEL = "jalur:hints"
_RETRY_SECONDS = 1.0
_GAP_SECONDS = 0.01
"""Between two publications: a busy process has something to tell all the time."""

log = structlog.get_logger()


class Topic(StrEnum):
    """What there is to do."""

    READY = "ready"
    CHECK = "check"
    DELIVER = "deliver"
    EVENT = "event"


class Hints:
    """This process's ear and voice. Without Redis it goes on locally and says so in `connected`."""

    def __init__(self, redis_url: str | None) -> None:
        self._url = redis_url
        self._voice = secrets.token_hex(8)
        """Tells this process's own words from those of others."""
        self._events = {topic: asyncio.Event() for topic in Topic}
        self._untold: set[Topic] = set()
        self._told = asyncio.Event()
        self.connected = False

    @property
    def configured(self) -> bool:
        """Whether there is a Redis to speak through."""
        return self._url is not None

    def tell(self, topics: Iterable[Topic]) -> None:
        """Wake this process's loops, and soon those of the others."""
        for topic in topics:
            self._events[topic].set()
            if self._url is not None:
                self._untold.add(topic)
                self._told.set()

    def wake(self, topic: Topic) -> None:
        """Wake this process's loop only: a place became free here."""
        self._events[topic].set()

    async def wait(self, topic: Topic, timeout_seconds: float) -> None:
        """Return at a hint, or after the time-out."""
        event = self._events[topic]
        try:
            async with asyncio.timeout(timeout_seconds):
                await event.wait()
        except TimeoutError:
            return
        finally:
            event.clear()

    async def run(self) -> None:
        """Exchange hints with other processes until cancelled; reconnects by itself."""
        if self._url is None:
            return
        while True:
            try:
                await self._exchange(self._url)
            except (RedisError, OSError, TimeoutError) as error:
                if self.connected:
                    log.warning("redis.lost", error=type(error).__name__)
                self.connected = False
            await asyncio.sleep(_RETRY_SECONDS)

    async def _exchange(self, url: str) -> None:
        client = Redis.from_url(url, socket_connect_timeout=2, socket_timeout=5)
        try:
            async with client.pubsub() as channel:
                await channel.subscribe(_CHANNEL)
                self.connected = True
                await until_one_fails(self._publish(client), self._listen(channel))
        finally:
            await client.aclose()

    async def _publish(self, client: Redis) -> None:
        while True:
            await self._told.wait()
            self._told.clear()
            topics, self._untold = self._untold, set()
            await client.publish(_CHANNEL, ",".join((self._voice, *sorted(topics))))
            await asyncio.sleep(_GAP_SECONDS)

    async def _listen(self, channel: PubSub) -> None:
        while True:
            message = await channel.get_message(ignore_subscribe_messages=True, timeout=1.0)
            if message is None:
                continue
            voice, *told = bytes(message["data"]).split(b",")  # pyright: ignore[reportArgumentType]
            for topic in Topic:
                if topic.encode() in told and voice != self._voice.encode():
                    self._events[topic].set()
