"""The tables that were in force: the newest ones, each as compressed CSV.

table_versions(version, revision, kept_at, act, operator, reason, checksum, counts, content)
    `content` only of those that were kept in one
table_version_pieces(version, piece, content)
    the content, cut: written at once it would hold up the commits beside it
"""

from dataclasses import dataclass
from datetime import datetime

from app.pace import Pace
from app.storage.pool import Connection

MOST_VERSIONS = 30
_PIECE = 128 * 1024
"""Bytes written at once."""


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A table to keep. `act` says how it came into force, `content` is its CSV under gzip."""

    revision: int
    act: str
    operator: str
    reason: str
    checksum: str
    routes: int
    added: int
    changed: int
    removed: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Version:
    """A table as it was kept, without its content."""

    version: int
    revision: int
    kept_at: datetime
    act: str
    operator: str
    reason: str
    checksum: str
    routes: int
    added: int
    changed: int
    removed: int


async def keep(connection: Connection, new: NewVersion, pace: Pace) -> int:
    """Keep a table and forget the oldest beyond `MOST_VERSIONS`. Returns its number.

    Under the revision's lock, so that no two get the same number.
    """
    version = await connection.fetchval(
        """
        insert into table_versions (version, revision, act, operator, reason, checksum, routes,
                                    added, changed, removed)
        select coalesce(max(version), 0) + 1, $1, $2, $3, $4, $5, $6, $7, $8, $9
        from table_versions
        returning version
        """,
        *(getattr(new, name) for name in NewVersion.__slots__ if name != "content"),
    )
    for piece, begin in enumerate(range(0, len(new.content), _PIECE)):
        await connection.execute(
            "insert into table_version_pieces (version, piece, content) values ($1, $2, $3)",
            version,
            piece,
            new.content[begin : begin + _PIECE],
        )
        await pace.rest()
    for table in ("table_version_pieces", "table_versions"):
        await connection.execute(
            f"delete from {table} where version <= $1",  # noqa: S608 - one of ours
            version - MOST_VERSIONS,
        )
    return version


async def list_all(connection: Connection) -> list[Version]:
    """Every version kept, the newest first."""
    rows = await connection.fetch(
        """
        select version, revision, kept_at, act, operator, reason, checksum, routes, added, changed,
               removed
        from table_versions order by version desc
        """
    )
    return [Version(*row) for row in rows]


async def content(connection: Connection, version: int) -> bytes | None:
    """A kept table's CSV under gzip; None where it is not kept."""
    pieces = await connection.fetch(
        """
        select content from table_versions where version = $1 and content is not null
        union all
        (select content from table_version_pieces where version = $1 order by piece)
        """,
        version,
    )
    return b"".join(piece[0] for piece in pieces) if pieces else None


async def newest_checksum(connection: Connection) -> str | None:
    """The checksum of the table kept last; None where none is kept."""
    return await connection.fetchval(
        "select checksum from table_versions order by version desc limit 1"
    )
