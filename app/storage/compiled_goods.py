"""Goods that were compiled once for all processes: blocks of bytes, kept in compressed pieces.

    compiled_goods(goods_revision, compiled_at, routes_length, routes_checksum, prices_length,
                   prices_checksum, report)
    compiled_pieces(goods_revision, number, content)

Neither is logged: after a crash they are empty, and the goods are compiled again.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from mmap import mmap

from app.pace import Pace
from app.storage.pool import Connection, one_view
from routing.blocks import Content
from routing.table import BadTable

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


async def become_compiler(connection: Connection) -> bool:
    """Become the only one who compiles, until the connection ends."""
    return await connection.fetchval("select pg_try_advisory_lock($1)", _COMPILER)


async def newest(connection: Connection) -> Header | None:
    """The newest compiled goods, if there are any."""
    row = await connection.fetchrow(
        """
        select goods_revision, routes_length, routes_checksum, prices_length, prices_checksum,
               report
        from compiled_goods order by goods_revision desc limit 1
        """
    )
    return None if row is None else Header(*row)


async def read(connection: Connection, header: Header) -> list[bytes]:
    """The pieces, for `unpacked`; fewer where others have taken their place meanwhile."""
    async with one_view(connection):
        rows = connection.cursor(
            "select content from compiled_pieces where goods_revision = $1 order by number",
            header.goods_revision,
            prefetch=_PIECES_A_STEP,
        )
        return [content async for (content,) in rows]


def unpacked(header: Header, pieces: Sequence[bytes]) -> tuple[memoryview, memoryview] | None:
    """The blocks of routes and of prices; None where pieces are missing.

    For a thread: it goes in small steps, so that an event loop beside it goes on. Raises BadTable
    for pieces that were damaged.
    """
    length = header.routes_length + header.prices_length
    # Its pages come as they are written; a bytearray's all at once, which holds up all threads.
    view = memoryview(mmap(-1, max(1, length)))
    place = 0
    for piece in pieces:
        try:
            content = zlib.decompress(piece)
        except zlib.error as error:
            raise BadTable(f"the compiled goods are not what was written: {error}") from error
        if place + len(content) <= length:
            view[place : place + len(content)] = content
        place += len(content)
    if place != length:
        return None
    return view[: header.routes_length], view[header.routes_length : length]


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
            insert into compiled_goods (goods_revision, routes_length, routes_checksum,
                                        prices_length, prices_checksum, report)
            values ($1, $2, $3, $4, $5, $6::json)
            """,
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
