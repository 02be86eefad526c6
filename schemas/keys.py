"""Keys on the wire, as resellers manage their own and operators those of all."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

Mode = Literal["live", "test"]
Scope = Literal[
    "orders:write",
    "orders:read",
    "balance:read",
    "products:read",
    "outlets:read",
    "outlets:write",
    "webhooks:read",
    "webhooks:write",
    "keys:read",
    "keys:write",
]
Scopes = Annotated[list[Scope], Field(min_length=1, max_length=32)]
Network = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Networks = Annotated[list[Network], Field(max_length=50)]
"""Addresses and networks, such as `203.0.113.7` and `2001:db8::/48`."""
KeyName = Annotated[str, StringConstraints(max_length=100)]
Overlap = Annotated[int, Field(ge=0, le=2_592_000)]


class NewOwnKey(BaseModel):
    """A key to make. It cannot go further than the one that makes it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: KeyName = ""
    """What you call it."""
    mode: Mode | None = None
    """`test` keys reach nothing but a simulator. Without it, that of the key that calls."""
    scopes: Scopes | None = None
    """What it opens; without them all that the calling key opens."""
    addresses: Networks = Field(default_factory=list)
    """From where it is taken; none: from where the calling key is."""
    expires_at: AwareDatetime | None = None


class KeyReplacement(BaseModel):
    """How a key is replaced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    overlap_seconds: Overlap = 86_400
    """How long the old key lives on beside the new one; 0: not at all."""


class Key(BaseModel):
    """A key without its secret. It is alive unless it is revoked or its time is over."""

    id: str
    mode: Mode
    name: str
    scopes: list[str] | None
    """null: everything."""
    addresses: list[str]
    created_at: datetime
    expires_at: datetime | None
    replaced_by: str | None
    """The key that takes its place."""
    revoked_at: datetime | None
    last_used_at: datetime | None
    """To about a minute."""
    last_used_from: str | None
    orders_rate: str | None
    """Its own, beside its reseller's."""
    reads_rate: str | None


class CreatedOwnKey(Key):
    """A new key. `key` is what its holder sends, and is shown this once."""

    key: str


class OwnKeyList(BaseModel):
    """All keys that the reseller ever had, the oldest first."""

    data: list[Key]
    next_cursor: str | None
    has_more: bool
