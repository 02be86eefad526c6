# pyright: basic, reportMissingImports=false
# The peers' packages are in an environment of their own.
"""FastAPI and arq: an order is a job in Redis, a worker buys it and reports it.

uvicorn loadtests.peers.arq_shop:app
python -m loadtests.peers.arq_shop work
"""

import asyncio
import importlib
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, ClassVar

import uvloop
from arq import Retry, create_pool, func, run_worker
from arq.connections import RedisSettings
from fastapi import Depends, FastAPI, Header, HTTPException

from loadtests.peers.bargain import Accepted, Order, Refused, open_shop

_REDIS = RedisSettings.from_dsn(os.environ["REDIS_URL"])
_AT_ONCE = int(os.environ["AT_ONCE"])
_CALL_SECONDS = 5.0
_JOB_SECONDS = 10.0
"""Nobody else takes up the job of a worker that died before this and ten seconds are over."""

shop = open_shop()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """One pool of connections to the queue."""
    app.state.queue = await create_pool(_REDIS)
    yield
    await app.state.queue.aclose()


app = FastAPI(lifespan=lifespan)


async def identify(authorization: Annotated[str, Header()]) -> int:
    """The reseller who asks."""
    reseller = shop.identify(authorization)
    if reseller is None:
        raise HTTPException(401)
    return reseller


@app.post("/v1/orders", status_code=202)
async def place(order: Order, reseller: Annotated[int, Depends(identify)]) -> Accepted:
    """Queue an order; one that is queued under its reference already is not queued again.

    arq says None to such a one, and also where its connection broke while it looked: whoever sent
    the order must ask again.
    """
    job_id = f"{reseller}:{order.ref_id}"
    job = await app.state.queue.enqueue_job("fulfil", reseller, order.model_dump(), _job_id=job_id)
    if job is None:
        raise HTTPException(409)
    return Accepted(id=job_id)


async def fulfil(ctx: dict[str, Any], reseller: int, order: dict[str, Any]) -> None:
    """Buy an order and report it."""
    try:
        await shop.fulfil(ctx["calls"], reseller, order)
    except Refused as refused:
        raise Retry(defer=ctx["job_try"] * 2) from refused


async def startup(ctx: dict[str, Any]) -> None:
    """One HTTP client for all jobs."""
    module = importlib.import_module(f"loadtests.peers.{os.environ['HTTP_CLIENT']}_calls")
    ctx["stack"] = AsyncExitStack()
    ctx["calls"] = await ctx["stack"].enter_async_context(
        module.open_calls(2 * _AT_ONCE, _CALL_SECONDS)
    )


async def shutdown(ctx: dict[str, Any]) -> None:
    """Close it."""
    await ctx["stack"].aclose()


class WorkerSettings:
    """Results are not kept: nobody asks for them, and each would be another write."""

    functions: ClassVar = [func(fulfil, keep_result=0, timeout=_JOB_SECONDS, max_tries=5)]
    redis_settings = _REDIS
    on_startup = startup
    on_shutdown = shutdown
    max_jobs = _AT_ONCE
    poll_delay = 0.01
    queue_read_limit = int(os.environ["READ_LIMIT"])


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.set_event_loop(asyncio.new_event_loop())
    run_worker(WorkerSettings)
