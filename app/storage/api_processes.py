"""Processes that answer the API: how many there are, for when Redis cannot tell.

api_processes(process_id, beat_at)
"""

from uuid import UUID

from app.storage.pool import Connection


async def beat(connection: Connection, process_id: UUID) -> int:
    """Write a process down as living now. Returns how many there are with it."""
    return await connection.fetchval(
        """
        with gone as (
            delete from api_processes where beat_at < now() - interval '1 minute'
        ), own as (
            insert into api_processes (process_id, beat_at) values ($1, now())
            on conflict (process_id) do update set beat_at = excluded.beat_at
        )
        select 1 + count(*) from api_processes
        where process_id <> $1 and beat_at > now() - interval '5 seconds'
        """,
        process_id,
    )


async def delete(connection: Connection, process_id: UUID) -> None:
    """A process ends."""
    await connection.execute("delete from api_processes where process_id = $1", process_id)
