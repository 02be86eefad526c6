"""The buckets behind the rates, in Redis, where all processes share them.

A process leases a few requests of a bucket and spends them from its memory. What is leased out and
what is left never add up to more than the bucket holds, so however many processes lease, no more is
spent than one bucket would have let through. A lease that is not renewed ends with its term, and
nothing comes back of it: its process may have spent it.

    jalur:rates:<format>:<database>:<bucket>   hash: level, at, and a field for each lease

Redis may forget it all at any time: the buckets are full again then.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.errors import ExchangeLost
from app.rates import Rate

# The redis package leaves many of its types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

_FORMAT = 1
_CONNECT_SECONDS = 0.5
_ANSWER_SECONDS = 0.5
_MILLI = 1000

# The clock is Redis's own. Amounts are whole requests; a level has fractions.
_SCRIPT = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local lease = ARGV[1]
local told = {}
for i, key in ipairs(KEYS) do
    local a = 1 + (i - 1) * 7
    local quota, window = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
    local spent, debt = tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4])
    local need, want = tonumber(ARGV[a + 5]), tonumber(ARGV[a + 6])
    local term = tonumber(ARGV[a + 7])
    local level, at, mine, others = quota, now, 0, 0
    local row = redis.call('HGETALL', key)
    for j = 1, #row, 2 do
        local name, value = row[j], row[j + 1]
        if name == 'level' then
            level = tonumber(value)
        elseif name == 'at' then
            at = tonumber(value)
        else
            local amount, ends = string.match(value, '^(%d+):(%d+)$')
            if tonumber(ends) <= now then
                redis.call('HDEL', key, name)
            elseif name == lease then
                mine = tonumber(amount)
            else
                others = others + tonumber(amount)
            end
        end
    end
    -- A clock that was set back refills nothing until it is where it was, from here on.
    level = level + math.max(0, now - at) * quota / window / 1000000
    mine = math.max(0, mine - spent)
    level = math.max(0, math.min(level, quota - others - mine) - debt)
    local granted = want - mine
    if granted > 0 then
        granted = math.min(granted, math.floor(level))
        if mine + granted < need then granted = 0 end
    end
    level, mine = level - granted, mine + granted
    redis.call('HSET', key, 'level', string.format('%.6f', level), 'at', string.format('%.0f', now))
    if mine > 0 then
        redis.call('HSET', key, lease, string.format('%.0f:%.0f', mine, now + term * 1000))
    else
        redis.call('HDEL', key, lease)
    end
    redis.call('PEXPIRE', key, window * 1000 + term)
    told[i] = {mine, math.floor(level * 1000)}
end
return told
"""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a process says about one bucket, and what it would have."""

    bucket: str
    rate: Rate
    spent: int
    """Of its lease, since it last asked."""
    debt: int
    """Without a lease, while Redis was away."""
    need: int
    """Less than this is of no use to it."""
    want: int
    """What it would hold afterwards; less than it holds is given back."""
    term_seconds: float
    """So long from now on it may spend what it then holds."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a process holds of a bucket now, and what is left for everybody."""

    lease: int
    level: float


class RateBuckets:
    """A connection to the buckets of one database's processes."""

    def __init__(self, redis: "Redis", name: str) -> None:
        self._redis = redis
        self._prefix = f"jalur:rates:{_FORMAT}:{name}:"
        self._script = redis.register_script(_SCRIPT)

    async def exchange(self, lease: str, asks: Sequence[Ask]) -> list[Told]:
        """Settle what was spent, lease and give back, all at once; none asks whether Redis answers.

        `lease` names this process's leases. Raises ExchangeLost: it may have been done or not, so
        nothing may be spent under this name any more.
        """
        arguments: list[Any] = [lease]
        for ask in asks:
            rate, term = ask.rate, int(ask.term_seconds * _MILLI)
            arguments += (rate.quota, rate.window_seconds, ask.spent, ask.debt)
            arguments += (ask.need, ask.want, term)
        try:
            told: Any = await self._script([self._prefix + ask.bucket for ask in asks], arguments)
        except (RedisError, OSError, TimeoutError) as error:
            raise ExchangeLost(f"{type(error).__name__}: {error}") from error
        return [Told(lease, level / _MILLI) for lease, level in told]


@asynccontextmanager
async def open_buckets(redis_url: str, name: str) -> AsyncGenerator[RateBuckets]:
    """Connect; `name` tells one database from others. Connecting is tried at the first use."""
    redis = Redis.from_url(
        redis_url,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_ANSWER_SECONDS,
        protocol=2,
        # What was leased by an answer that was lost is not known: it is not asked for again.
        retry=Retry(NoBackoff(), 0),
    )
    try:
        yield RateBuckets(redis, name)
    finally:
        await redis.aclose()
