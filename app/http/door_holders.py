"""Whose door it is, and what its callers prove themselves with.

Doors are looked up through the cache that keys are in, so that a door that was removed, or whose
reseller was suspended, is closed within a second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

import orjson
import structlog

from app.sealing import CannotOpen, Sealer
from app.storage import doors
from app.storage.api_keys import LIVE, TEST, KeyHolder, own_rates
from app.storage.doors import OpenDoor
from app.storage.pool import Connection
from app.storage.tokens import PresentedKey

log = structlog.get_logger()

Secrets = Mapping[str, str]
"""What a client signs or calls with, by the names of its protocol."""


@dataclass(frozen=True, slots=True)
class DoorHolder:
    """An open door. `secrets` is None where our own key to them is missing."""

    door: OpenDoor
    caller: KeyHolder
    """Who orders, as a key of the reseller's would say it, with the reseller's rates."""
    secrets: Secrets | None = field(repr=False)
    previous: Secrets | None = field(repr=False)

    def matches(self, presented: PresentedKey) -> bool:
        """No key of ours opens a door."""
        return False

    def in_force(self, now: datetime) -> list[Secrets]:
        """The secrets that open now: two sets of them while they are being replaced."""
        until = self.door.previous_until
        old = self.previous if until is not None and now < until else None
        return [each for each in (self.secrets, old) if each is not None]


def place_of(shape: str, name: str) -> str:
    """What a door is looked up by."""
    return f"{shape}:{name}"


class DoorFinder:
    """Reads doors by their places, and opens their secrets."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    async def find(self, connection: Connection, places: Sequence[str]) -> Mapping[str, DoorHolder]:
        """The holders of the doors at these places."""
        named = [(shape, name) for shape, _, name in (each.partition(":") for each in places)]
        found = await doors.find(connection, named)
        return {place_of(*key): self._opened(door) for key, door in found.items()}

    def _opened(self, door: OpenDoor) -> DoorHolder:
        return DoorHolder(
            door,
            _caller(door),
            self._open(door, door.secrets_sealed),
            self._open(door, door.previous_sealed) if door.previous_sealed else None,
        )

    def _open(self, door: OpenDoor, sealed: bytes) -> Secrets | None:
        try:
            opened = self._sealer.open(sealed, doors.secrets_context(door.door_id))
        except CannotOpen as closed:
            log.error("door.sealed", door_id=door.door_id, reason=str(closed))  # noqa: TRY400
            return None
        return MappingProxyType(orjson.loads(opened))


def _caller(door: OpenDoor) -> KeyHolder:
    return KeyHolder(
        key_id=str(door.door_id),
        mode=TEST if door.test else LIVE,
        lane=door.lane,
        reseller_id=door.reseller_id,
        tier=door.tier,
        secret_sha256=b"",
        rates=own_rates(door.orders_rate, door.reads_rate),
    )
