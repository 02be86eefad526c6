"""Dealers as operators see and change them. Credentials go in and never come out."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from schemas.admin.shapes import Given, Line, Page, Reason, Shown

Values = Annotated[dict[str, str], Field(max_length=50)]
Address = Annotated[str, Field(min_length=1, max_length=2048)]
Seconds = Annotated[float, Field(ge=0.001, le=3600)]
Concurrency = Annotated[int, Field(ge=1, le=10_000)]
Networks = Annotated[list[Line], Field(max_length=50)]
"""Addresses and networks, such as `203.0.113.7` and `203.0.113.0/28`."""
Rate = Annotated[float, Field(ge=0, le=10_000)]


class NewDealer(Given):
    """A dealer to add."""

    id: Line
    name: Line
    owner_group: Line
    """Dealers of one owner share it; the monopoly rule counts by it."""
    protocol: Line
    base_url: Address
    credentials: Annotated[Values, Field(repr=False)]
    options: Values = Field(default_factory=dict)
    concurrency: Concurrency = 32
    """Requests under way at once, over all processes."""
    timeout_seconds: Seconds = 30
    connect_timeout_seconds: Seconds = 5
    callback_from: Networks = Field(default_factory=list)
    """Where its callbacks may come from; none: from anywhere."""
    requests_per_second: Rate | None = None
    """Of all kinds, over all processes; without it what the protocol knows of the dealer."""
    test: bool = False
    """A simulator, for orders placed with test keys only. It cannot be changed."""
    reason: Reason = ""


class DealerEdit(Given):
    """What to change of a dealer; what is not given stays.

    Credentials and options are merged into those that stand; an empty value takes one away.
    """

    name: Line | None = None
    owner_group: Line | None = None
    protocol: Line | None = None
    base_url: Address | None = None
    credentials: Values = Field(default_factory=dict, repr=False)
    replace_credentials: bool = False
    """Forget all credentials that stand."""
    options: Values = Field(default_factory=dict)
    concurrency: Concurrency | None = None
    timeout_seconds: Seconds | None = None
    connect_timeout_seconds: Seconds | None = None
    requests_per_second: Rate | None = None
    """0 takes it away."""
    renew_callback_token: bool = False
    """Have a new callback address; the old one is refused from then on."""
    callback_from: Networks | None = None
    """Where its callbacks may come from; an empty list: from anywhere."""
    reason: Reason = ""


class Mute(Given):
    """Until when nothing is bought at a dealer, and why."""

    until: datetime
    reason: Reason


class ForgetClusters(Given):
    """Which refused clusters to forget: all of the dealer's, or of a brand or cluster only."""

    brand: Line | None = None
    cluster: Line | None = None
    reason: Reason = ""


class RefusedCluster(Shown):
    """Where a dealer refused numbers lately. `left_out_until` is null while it is asked still."""

    brand: str
    cluster: str
    numbers: int
    refused_at: datetime
    left_out_until: datetime | None


class RefusedClusterList(Page):
    """What is known of one dealer, by brand and cluster."""

    data: list[RefusedCluster]


class Market(Shown):
    """A brand in a cluster."""

    brand: str
    cluster: str


class Forgotten(Shown):
    """Where the dealer is asked again."""

    forgotten: list[Market]


class Dealer(Shown):
    """A dealer. Nothing is bought there unless it is enabled, not drained and not muted."""

    id: str = Field(validation_alias="dealer_id")
    name: str
    owner_group: str
    protocol: str
    base_url: str
    options: dict[str, str]
    concurrency: int
    timeout_seconds: float
    connect_timeout_seconds: float
    callback_from: list[str]
    requests_per_second: float | None
    """The dealer's own; without it what its protocol knows."""
    enabled: bool
    drained: bool
    muted_until: datetime | None
    test: bool
    """Whether it is a simulator, for orders placed with test keys only."""


class LiveLimits(Shown):
    """What may be sent to a dealer at this moment, over all processes that buy."""

    processes: int
    limit: int
    """Requests that may be under way at once, after what the dealer bore lately."""
    in_use: int


class LiveDealer(Dealer):
    """A dealer with what may be sent to it now."""

    live: LiveLimits


class ConfiguredDealer(Dealer):
    """A dealer with its callback address, which is told only where it is new."""

    callback_path: str


class DealerCallback(Shown):
    """A dealer's callback as it came, how it was understood, and what became of it."""

    verdict: str
    """`applied` as a word, `check`: it made the router ask, `review`: people must look,
    `unmatched`: no purchase of ours, `waiting` for its turn, or `refused`."""
    cause: str | None
    """Of a refused one: `path`, `address`, `unreadable` or `reference`."""
    detail: str | None
    """Of a refused one: why, in words."""
    reading: dict[str, Any] | None
    """Of any other: the reference that it names, whether its signature holds, what it says."""
    trusted: bool
    """It came by the dealer's secret path and from one of its networks."""
    source_address: str
    times_received: int
    received_at: datetime
    last_received_at: datetime
    method: str
    query: str
    headers: dict[str, str]
    body: str


class DealerCallbacks(Page):
    """A dealer's callbacks, the last received first; of refused ones the newest few."""

    data: list[DealerCallback]


class DealerList(Page):
    """All dealers, by id."""

    data: list[Dealer]
