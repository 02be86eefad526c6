"""What compiles large goods, in a process of its own: see `compiler.py`.

It reads a line of JSON, how to reach the database, and prints one: what was compiled, nothing where
another process is at it, the table's fault, or the error that came between.
"""

import asyncio
import gc
import json
import sys
import time
from typing import Any

from app.children import step_back
from app.lifecycle.goods import GoodsChanged, compile_goods, kept_goods
from app.pace import Pace
from app.storage import compiled_goods, reference
from app.storage.compiled_goods import Header
from app.storage.pool import Connection, PoolSettings, open_pool
from routing.table import BadTable

_REST_SHARE = 0.25


async def _run(means: dict[str, Any]) -> dict[str, Any]:
    pool = await open_pool(PoolSettings(means["dsn"], means["role"], max_size=2, steps_back=True))
    try:
        async with pool.acquire() as connection:
            if not await compiled_goods.become_compiler(connection):
                return {}
            return await _compile(connection)
    finally:
        pool.terminate()


async def _compile(connection: Connection) -> dict[str, Any]:
    started = time.monotonic()
    header = await compiled_goods.newest(connection)
    wanted = (await reference.revisions(connection)).goods
    if header is not None and header.goods_revision >= wanted:
        return {}
    before = header and await kept_goods(connection, header)
    pace = Pace(_REST_SHARE)
    goods, blocks = await compile_goods(connection, before, pace)
    report = goods.report.document()
    header = Header(
        goods.revision,
        len(blocks.routes),
        goods.image.checksum,
        len(blocks.prices),
        goods.price_book.checksum,
        json.dumps(report),
    )
    await compiled_goods.keep(connection, header, blocks.routes, blocks.prices, pace)
    seconds = round(time.monotonic() - started, 1)
    return {"goods_revision": goods.revision, "seconds": seconds, **report}


def main() -> None:
    """Compile the goods in force."""
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
