"""The inbox: every callback of a dealer as it arrived, stored before it is acknowledged.

callbacks(lane, dealer_id, identity, method, query, headers, body, verdict, …)
    unique (lane, dealer_id, identity); index of what waits to be applied

The same callback again is counted and applied again: between the two, another word may have come.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.storage.pool import Connection


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

    @property
    def identity(self) -> bytes:
        """A hash of all that the dealer sent: the same callback again has the same identity."""
        content = b"\0".join((self.method.encode(), self.query.encode(), self.body))
        return hashlib.sha256(content).digest()


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
    times_received: int


async def store(connection: Connection, received: Received) -> Waiting:
    """Store a callback, or count it again; either way it waits to be applied."""
    row = await connection.fetchrow(
        """
        insert into callbacks (lane, dealer_id, identity, callback_id, method, query, headers,
                               body, source_address)
        values ($1, $2, $3, $4, $5, $6, $7::json, $8, $9)
        on conflict (lane, dealer_id, identity) do update
        set times_received = callbacks.times_received + 1, last_received_at = now(),
            headers = excluded.headers, source_address = excluded.source_address,
            verdict = 'waiting'
        returning lane, dealer_id, identity, method, query, headers, body, source_address,
                  times_received
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
               times_received
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
