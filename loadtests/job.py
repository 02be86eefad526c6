"""What the load client is told and what it tells: one JSON line each way, between two processes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

import orjson


@dataclass(frozen=True, slots=True)
class Job:
    """One load: where to send orders, as whom, how many and how fast."""

    orders_url: str
    tokens: list[str] = field(repr=False)
    """A key a buyer; orders are spread evenly over them."""
    seconds: float
    """How long to go on sending."""
    most_orders: int
    """Where to stop even before the time is over."""
    connections: int
    """Requests under way at once; each connection sends its next order once one is answered."""
    warm_up_orders: int = 0
    receiver_url: str | None = None
    """The receiver to ask which orders were reported; None: being accepted is the end."""
    most_open: int = 0
    """Orders sent and not yet reported, at most: this makes the load a sustained one."""
    kind: Literal["order", "sendsms"] = "order"
    """How orders are sent: as the service takes them, or as Kannel does."""
    per_second: float | None = None
    """Orders due a second, each sent at its own moment; None: as fast as they are answered."""
    misbehaving: bool = False
    """Whether one order in twenty is for a number at which the dealers misbehave."""

    def to_line(self) -> bytes:
        """The job as one line of JSON."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of some durations, in milliseconds."""

    p50_ms: float
    p99_ms: float
    p999_ms: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a load. Warm-up orders count in `accepted_in_all` only."""

    orders: int
    """Measured: accepted and, where a receiver was asked, reported."""
    seconds: float
    """From the first sending to the last answer, or to the last webhook."""
    sending_seconds: float
    """From the first sending to the last one."""
    ended_while_sending: int
    """How many were accepted, or reported, before the last sending."""
    cpu_seconds: float
    """The client's own."""
    accept: Percentiles
    end_to_end: Percentiles | None
    lag: Percentiles | None
    """Of an open load: how much later than due orders were sent; all else counts from due."""
    accepted_in_all: int
    refused: int
    """Orders that were not accepted because there was too much to do: told at once, with 503."""
    faults: list[str]

    def to_line(self) -> bytes:
        """The outcome as one line of JSON."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)


def read_job(line: bytes) -> Job:
    """The job out of its line."""
    return Job(**orjson.loads(line))


def read_outcome(line: bytes) -> Outcome:
    """The outcome out of its line."""
    raw = orjson.loads(line)
    for name in ("accept", "end_to_end", "lag"):
        raw[name] = Percentiles(**raw[name]) if raw[name] else None
    return Outcome(**raw)


def percentiles(seconds: Sequence[float]) -> Percentiles:
    """The median, the 99th percentile and that of a thousand, by nearest rank; zero of nothing."""
    ranked = sorted(seconds)
    return Percentiles(_rank(ranked, 500), _rank(ranked, 990), _rank(ranked, 999))


def _rank(ranked: Sequence[float], thousandths: int) -> float:
    if not ranked:
        return 0.0
    # The smallest value that at least this share does not exceed; whole numbers are exact.
    position = -(-thousandths * len(ranked) // 1000) - 1
    return round(ranked[max(0, position)] * 1000, 3)
