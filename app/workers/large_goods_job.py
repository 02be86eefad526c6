"""What brings large goods to a process that serves: see `large_goods.py`.

It reads a line of JSON: how to reach the database, which goods are held, and the file in memory to
put newer ones into. It prints one: what it put there, nothing where there is nothing newer, the
table's fault, or the error that came between. Newer goods it takes as another process compiled
them, waits for them while one is at it, or compiles them itself.
"""

import asyncio
import gc
import json
import os
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from mmap import mmap
from typing import Any

from app.children import step_back
from app.lifecycle.goods import Goods, GoodsChanged, compile_goods, kept_goods
from app.pace import Pace
from app.storage import compiled_goods, reference
from app.storage.compiled_goods import Header
from app.storage.pool import Connection, PoolSettings, open_pool
from routing.table import BadTable

_REST_SHARE = 0.25
_LOOK_SECONDS = 0.2
_LOOKS = 300
"""A minute: after that whoever started us looks again whether these goods are still wanted."""


async def _run(means: dict[str, Any]) -> dict[str, Any]:
    pool = await open_pool(PoolSettings(means["dsn"], means["role"], max_size=2, steps_back=True))
    try:
        async with pool.acquire() as connection:
            return await _bring(connection, means["held"], means["room"])
    finally:
        pool.terminate()


async def _bring(connection: Connection, held: int, room: int) -> dict[str, Any]:
    is_compiler = False
    for _ in range(_LOOKS):
        header = await compiled_goods.newest(connection)
        if header is not None and header.goods_revision > held:
            if await _fetch(connection, header, room):
                return _told(header)
        elif (await reference.revisions(connection)).goods <= held:
            break
        if is_compiler:
            return await _compile(connection, room)
        is_compiler = await compiled_goods.become_compiler(connection)
        if not is_compiler:
            await asyncio.sleep(_LOOK_SECONDS)
    return {}


async def _fetch(connection: Connection, header: Header, room: int) -> bool:
    """Whether the goods stand in the room; not where they were damaged or gave way to others."""
    os.ftruncate(room, header.length)
    try:
        return await compiled_goods.read(connection, header, memoryview(mmap(room, 0)))
    except BadTable:
        return False


async def _compile(connection: Connection, room: int) -> dict[str, Any]:
    started = time.monotonic()
    pace = Pace(_REST_SHARE)
    goods, blocks = await compile_goods(connection, await _before(connection), pace)
    header = Header(
        goods.revision,
        len(blocks.routes),
        goods.image.checksum,
        len(blocks.prices),
        goods.price_book.checksum,
        json.dumps(goods.report.document()),
    )
    await compiled_goods.keep(connection, header, blocks.routes, blocks.prices, pace)
    compiled_at, seconds = datetime.now(UTC), time.monotonic() - started
    os.ftruncate(room, 0)
    with os.fdopen(room, "wb", closefd=False) as file:
        file.write(blocks.routes)
        file.write(blocks.prices)
    return _told(header, compiled_at, seconds)


async def _before(connection: Connection) -> Goods | None:
    """What was compiled before, to compare with."""
    header = await compiled_goods.newest(connection)
    try:
        return header and await kept_goods(connection, header)
    except BadTable:
        return None


def _told(
    header: Header, compiled_at: datetime | None = None, seconds: float | None = None
) -> dict[str, Any]:
    return {
        "header": asdict(header),
        "compiled_at": compiled_at and compiled_at.isoformat(),
        "seconds": seconds and round(seconds, 1),
    }


def main() -> None:
    """Bring newer goods."""
    step_back()
    # Rows come and go by the million and leave no cycles behind.
    gc.disable()
    try:
        told = asyncio.run(_run(json.loads(sys.stdin.buffer.readline())))
    except GoodsChanged:
        # Whoever looks next begins anew.
        told = {}
    except BadTable as fault:
        told = {"fault": str(fault)}
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller must be told
        told = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
