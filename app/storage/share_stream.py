"""The stream in Redis through which processes tell each other what they counted.

It may be lost at any time: numbers in the messages show when something is missing, and everything
in them is in PostgreSQL too. Messages are JSON; `_FORMAT` is part of the stream's name, so that
processes of two versions do not misread each other.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.errors import ExchangeLost
from routing.monopoly import Market, ShareRow

# The redis package leaves many of its types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

_FORMAT = 1
_KEPT = 1_000
"""Messages kept, about: a minute of sixteen processes. Who reads later counts anew."""
_READ_AT_ONCE = 100
_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 3.0


class Position(NamedTuple):
    """A place in the stream: later messages have larger ones."""

    milliseconds: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class News:
    """One message. `number` rises by one from message to message of a sender, from 1."""

    sender: str
    number: int
    read: Position
    """How far the sender had read before it counted all of these rows, and had told all others."""
    asks: bool
    """Everybody is to tell at once what they have."""
    leaves: bool
    """The sender's last message."""
    rows: Sequence[ShareRow]


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it stands in the stream; `news` is None where it cannot be read."""

    position: Position
    news: News | None


class ShareStream:
    """A connection to the stream of one database's processes."""

    def __init__(self, redis: "Redis", name: str) -> None:
        self._redis = redis
        self._key = f"jalur:shares:{_FORMAT}:{name}"

    async def append(self, news: News) -> Position:
        """Append a message; old ones go. Raises ExchangeLost: it may have been appended or not."""
        fields = {"news": _write(news)}
        try:
            added = await self._redis.xadd(self._key, fields, maxlen=_KEPT, approximate=True)  # pyright: ignore[reportArgumentType]
        except (RedisError, OSError, TimeoutError) as error:
            raise ExchangeLost(f"{type(error).__name__}: {error}") from error
        return _position(added)

    async def end(self) -> Position:
        """The place of the newest message. Raises ExchangeLost."""
        try:
            found: Any = await self._redis.xrevrange(self._key, count=1)
        except (RedisError, OSError, TimeoutError) as error:
            raise ExchangeLost(f"{type(error).__name__}: {error}") from error
        return _position(found[0][0]) if found else Position()

    async def after(self, position: Position, wait_seconds: float) -> list[Received]:
        """The messages after a place, waiting for one. Raises ExchangeLost."""
        wanted: dict[Any, Any] = {self._key: f"{position.milliseconds}-{position.number}"}
        wait = int(wait_seconds * 1000)
        try:
            found: Any = await self._redis.xread(wanted, count=_READ_AT_ONCE, block=wait)
        except (RedisError, OSError, TimeoutError) as error:
            raise ExchangeLost(f"{type(error).__name__}: {error}") from error
        streams = [entries for _, entries in found or ()]
        return [_received(*entry) for entries in streams for entry in entries]


@asynccontextmanager
async def open_stream(redis_url: str, name: str) -> AsyncGenerator[ShareStream]:
    """Connect; `name` tells one database from others. Connecting is tried at the first use."""
    redis = Redis.from_url(
        redis_url,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_ANSWER_SECONDS,
        protocol=2,
        # A connection that was lost must be known: messages may be lost with it.
        retry=Retry(NoBackoff(), 0),
    )
    try:
        yield ShareStream(redis, name)
    finally:
        await redis.aclose()


def _write(news: News) -> bytes:
    return orjson.dumps(
        {
            "sender": news.sender,
            "number": news.number,
            "read": [*news.read],
            "asks": news.asks,
            "leaves": news.leaves,
            "rows": [
                (
                    *row.market,
                    row.owner_group,
                    row.value_rupiah,
                    row.orders,
                    int(row.at.timestamp()),
                )
                for row in news.rows
            ],
        }
    )


def _received(entry_id: object, fields: dict[bytes, bytes]) -> Received:
    try:
        news = _read(fields[b"news"])
    except (KeyError, TypeError, ValueError):
        news = None
    return Received(_position(entry_id), news)


def _read(text: bytes) -> News:
    """Read a message. Raises KeyError, TypeError, ValueError."""
    told = orjson.loads(text)
    rows = [
        ShareRow(
            Market(brand, cluster), group, int(value), int(orders), datetime.fromtimestamp(at, UTC)
        )
        for brand, cluster, group, value, orders, at in told["rows"]
    ]
    position = Position(*told["read"])
    return News(told["sender"], told["number"], position, told["asks"], told["leaves"], rows)


def _position(entry_id: Any) -> Position:  # noqa: ANN401 - bytes, says the protocol
    milliseconds, _, number = bytes(entry_id).partition(b"-")
    return Position(int(milliseconds), int(number))
