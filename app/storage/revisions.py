"""The revision of the tables as the service sees it, for telling whether it may start work."""

from app.storage.pool import Connection


async def applied(connection: Connection) -> str | None:
    """The newest migration applied; None where there is none or the role may not see it."""
    readable = await connection.fetchval(
        "select has_table_privilege(to_regclass('alembic_version'), 'select')"
    )
    if not readable:
        return None
    return await connection.fetchval("select version_num from alembic_version")
