"""The inbox: every callback of a dealer as it arrived, stored before it is acknowledged.

callbacks(lane, dealer_id, identity, method, query, headers, body, trusted, reading, verdict, …)
    unique (lane, dealer_id, identity); index of what waits to be applied; of a dealer's newest
refused_callbacks(dealer_id, cause, identity, detail, method, query, headers, body, …)
    unique (dealer_id, cause, identity); the newest `MOST_REFUSED` a dealer and cause

The same callback again is counted and applied again: between the two, another word may have come.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.storage.pool import Connection

MOST_REFUSED = 20
"""How many refused callbacks are kept a dealer and cause."""


@dataclass(frozen=True, slots=True)
class Received:
    """A callback to store. `headers` is JSON text; `lane` is that of the reference it names."""

    lane: int
    dealer_id: str
    callback_id: UUID
    method: str
    query: str
    headers: str
    body: bytes
    source_address: str
    trusted: bool
    """It came by the dealer's secret path from an address listed for it."""
    reading: str
    """How it was understood: JSON text."""

    @property
    def identity(self) -> bytes:
        """A hash of all that the dealer sent: the same callback again has the same identity."""
        return _identity(self.method, self.query, self.body)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A stored callback that is still to be applied."""

    lane: int
    dealer_id: str
    identity: bytes
    method: str
    query: str
    headers: str
    body: bytes
    source_address: str
    trusted: bool
    times_received: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A callback that was not taken. `headers` is JSON text; what is long was cut."""

    dealer_id: str
    cause: str
    detail: str
    method: str
    query: str
    headers: str
    body: bytes
    source_address: str

    @property
    def identity(self) -> bytes:
        """A hash of what is kept of it and whence it came."""
        return _identity(self.method, self.query, self.body + self.source_address.encode())


@dataclass(frozen=True, slots=True)
class Seen:
    """A callback as people look it up: stored with its verdict, or refused with its cause."""

    verdict: str
    cause: str | None
    detail: str | None
    """Of a refused one: why."""
    reading: str | None
    """Of a stored one: how it was understood, as JSON text."""
    trusted: bool
    source_address: str
    times_received: int
    received_at: datetime
    last_received_at: datetime
    method: str
    query: str
    headers: str
    body: bytes


async def store(connection: Connection, received: Received) -> Waiting:
    """Store a callback, or count it again; either way it waits to be applied."""
    row = await connection.fetchrow(
        """
        insert into callbacks (lane, dealer_id, identity, callback_id, method, query, headers,
                               body, source_address, trusted, reading)
        values ($1, $2, $3, $4, $5, $6, $7::json, $8, $9, $10, $11::json)
        on conflict (lane, dealer_id, identity) do update
        set times_received = callbacks.times_received + 1, last_received_at = now(),
            headers = excluded.headers, source_address = excluded.source_address,
            trusted = excluded.trusted, reading = excluded.reading, verdict = 'waiting'
        returning lane, dealer_id, identity, method, query, headers, body, source_address,
                  trusted, times_received
        """,
        received.lane,
        received.dealer_id,
        received.identity,
        received.callback_id,
        received.method,
        received.query,
        received.headers,
        received.body,
        received.source_address,
        received.trusted,
        received.reading,
    )
    if row is None:
        raise RuntimeError("an upsert returned no row")
    return Waiting(*row)


async def waiting(
    connection: Connection, lanes: Sequence[int], older_than_seconds: float, limit: int
) -> list[Waiting]:
    """Callbacks that nobody applied yet: left by a process that died, or waiting for their turn."""
    rows = await connection.fetch(
        """
        select lane, dealer_id, identity, method, query, headers, body, source_address,
               trusted, times_received
        from callbacks
        where verdict = 'waiting' and lane = any($1::smallint[])
          and last_received_at <= now() - make_interval(secs => $2)
        order by last_received_at
        limit $3
        """,
        list(lanes),
        older_than_seconds,
        limit,
    )
    return [Waiting(*row) for row in rows]


async def conclude(connection: Connection, done: Waiting, verdict: str) -> None:
    """Record what became of a callback, unless it has come again since."""
    await connection.execute(
        """
        update callbacks set verdict = $4, applied_at = now()
        where lane = $1 and dealer_id = $2 and identity = $3 and times_received = $5
        """,
        done.lane,
        done.dealer_id,
        done.identity,
        verdict,
        done.times_received,
    )


async def store_refused(connection: Connection, refused: Refused) -> None:
    """Keep a refused callback, or count it again, and forget the oldest of its dealer and cause."""
    await connection.execute(
        """
        insert into refused_callbacks (dealer_id, cause, identity, detail, method, query, headers,
                                       body, source_address)
        values ($1, $2, $3, $4, $5, $6, $7::json, $8, $9)
        on conflict (dealer_id, cause, identity) do update
        set times_received = refused_callbacks.times_received + 1, last_received_at = now(),
            detail = excluded.detail, headers = excluded.headers
        """,
        refused.dealer_id,
        refused.cause,
        refused.identity,
        refused.detail,
        refused.method,
        refused.query,
        refused.headers,
        refused.body,
        refused.source_address,
    )
    await connection.execute(
        """
        delete from refused_callbacks r
        using (
            select dealer_id, cause, identity from refused_callbacks
            where dealer_id = $1 and cause = $2
            order by last_received_at desc, identity
            offset $3
            for update skip locked
        ) old
        where r.dealer_id = old.dealer_id and r.cause = old.cause and r.identity = old.identity
        """,
        refused.dealer_id,
        refused.cause,
        MOST_REFUSED,
    )


async def newest(connection: Connection, dealer_id: str, limit: int) -> list[Seen]:
    """A dealer's callbacks, stored and refused, the last received first."""
    rows = await connection.fetch(
        """
        (
            select verdict, null as cause, null as detail, reading, trusted, source_address,
                   times_received, received_at, last_received_at, method, query, headers, body
            from callbacks where dealer_id = $1 order by last_received_at desc limit $2
        )
        union all
        (
            select 'refused', cause, detail, null, false, source_address,
                   times_received, received_at, last_received_at, method, query, headers, body
            from refused_callbacks where dealer_id = $1 order by last_received_at desc limit $2
        )
        order by last_received_at desc
        limit $2
        """,
        dealer_id,
        limit,
    )
    return [Seen(*row) for row in rows]


def _identity(method: str, query: str, body: bytes) -> bytes:
    return hashlib.sha256(b"\0".join((method.encode(), query.encode(), body))).digest()
