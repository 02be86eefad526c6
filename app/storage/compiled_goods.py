"""Goods that were compiled once for all processes: blocks of bytes, kept in compressed pieces.

    compiled_goods(goods_revision, compiled_at, layout, routes_length, routes_checksum,
                   prices_length, prices_checksum, report)
    compiled_pieces(goods_revision, number, content)

Neither is logged: after a crash they are empty, and the goods are compiled again.
"""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.pace import Pace
from app.storage.pool import Connection, one_view
from routing.blocks import Content, checksum_of
from routing.table import BadTable

_LAYOUT = 2
"""Of the blocks: those in another layout are for another version of this program."""
_COMPILER = 0x6A616C75722D676F
_PIECE_BYTES = 1 << 20
_LEVEL = 1
"""Of zlib: a third of the bytes for a second of a processor."""
_PIECES_A_STEP = 2


@dataclass(frozen=True, slots=True)
class Header:
    """What there is to know of compiled goods before they are read. `report` is JSON text."""

    goods_revision: int
    routes_length: int
    routes_checksum: str
    prices_length: int
    prices_checksum: str
    report: str

    @property
    def length(self) -> int:
        """Of both blocks together, in bytes."""
        return self.routes_length + self.prices_length


async def become_compiler(connection: Connection) -> bool:
    """Become the only one who compiles, until the connection ends."""
    return await connection.fetchval("select pg_try_advisory_lock($1)", _COMPILER)


async def newest(connection: Connection) -> Header | None:
    """The newest compiled goods, if there are any."""
    row = await connection.fetchrow(
        """
        select goods_revision, routes_length, routes_checksum, prices_length, prices_checksum,
               report
        from compiled_goods where layout = $1 order by goods_revision desc limit 1
        """,
        _LAYOUT,
    )
    return None if row is None else Header(*row)


async def read(connection: Connection, header: Header, room: memoryview) -> bool:
    """Put the blocks of routes and of prices into a room of their length, one behind the other.

    Returns whether they stand there; not where others have taken their place meanwhile. It computes
    for half a second, for a process that serves nobody. Raises BadTable for pieces that were
    damaged.
    """
    place = 0
    async with one_view(connection):
        async for (piece,) in connection.cursor(
            "select content from compiled_pieces where goods_revision = $1 order by number",
            header.goods_revision,
            prefetch=_PIECES_A_STEP,
        ):
            try:
                content = zlib.decompress(piece)
            except zlib.error as error:
                raise _damaged() from error
            place += len(content)
            if place <= header.length:
                room[place - len(content) : place] = content
    if place != header.length:
        return False
    wanted = (header.routes_checksum, header.prices_checksum)
    if tuple(map(checksum_of, blocks_of(header, room))) != wanted:
        raise _damaged()
    return True


def blocks_of(header: Header, content: memoryview) -> tuple[memoryview, memoryview]:
    """The blocks of routes and of prices that lie one behind the other."""
    return content[: header.routes_length], content[header.routes_length : header.length]


def _damaged() -> BadTable:
    return BadTable("the compiled goods are not what was written")


async def keep(
    connection: Connection, header: Header, routes: Content, prices: Content, pace: Pace
) -> None:
    """Keep compiled goods in place of all others."""
    packed = list(_packed((routes, prices)))
    async with connection.transaction():
        await connection.execute("delete from compiled_pieces")
        await connection.execute("delete from compiled_goods")
        await connection.execute(
            """
            insert into compiled_goods (layout, goods_revision, routes_length, routes_checksum,
                                        prices_length, prices_checksum, report)
            values ($1, $2, $3, $4, $5, $6, $7::json)
            """,
            _LAYOUT,
            *(getattr(header, name) for name in Header.__slots__),
        )
        for number, content in enumerate(packed):
            await connection.execute(
                "insert into compiled_pieces (goods_revision, number, content) values ($1, $2, $3)",
                header.goods_revision,
                number,
                content,
            )
            await pace.rest()


def _packed(blocks: Iterable[Content]) -> Iterator[bytes]:
    for block in blocks:
        for begin in range(0, len(block), _PIECE_BYTES):
            yield zlib.compress(block[begin : begin + _PIECE_BYTES], _LEVEL)
