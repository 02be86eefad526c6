# pyright: basic, reportMissingImports=false
# The peers' packages are in an environment of their own.
"""FastAPI and procrastinate: an order is a job in PostgreSQL, a worker buys it and reports it.

python -m loadtests.peers.procrastinate_shop schema
uvicorn loadtests.peers.procrastinate_shop:app
python -m loadtests.peers.procrastinate_shop work
"""

import importlib
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import procrastinate
import uvloop
from fastapi import Depends, FastAPI, Header, HTTPException
from procrastinate.exceptions import AlreadyEnqueued

from loadtests.peers.bargain import Accepted, Order, Refused, open_shop

_AT_ONCE = int(os.environ["AT_ONCE"])
_CONNECTIONS = int(os.environ["CONNECTIONS"])
_CALL_SECONDS = 5.0
_HEARTBEAT_SECONDS = 2.0
_STALLED_SECONDS = 10.0
"""A worker that was not heard of for so long is dead, and its jobs are taken up."""

shop = open_shop()
tasks = procrastinate.App(
    connector=procrastinate.PsycopgConnector(
        conninfo=os.environ["DATABASE_URL"],
        min_size=_CONNECTIONS,
        max_size=_CONNECTIONS,
        kwargs={"options": f"-c synchronous_commit={os.environ['SYNCHRONOUS_COMMIT']}"},
    )
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """One pool of connections to the queue."""
    async with tasks.open_async():
        yield


app = FastAPI(lifespan=lifespan)


async def identify(authorization: Annotated[str, Header()]) -> int:
    """The reseller who asks."""
    reseller = shop.identify(authorization)
    if reseller is None:
        raise HTTPException(401)
    return reseller


@app.post("/v1/orders", status_code=202)
async def place(order: Order, reseller: Annotated[int, Depends(identify)]) -> Accepted:
    """Queue an order; one that is queued under its reference already is not queued again."""
    key = f"{reseller}:{order.ref_id}"
    try:
        await fulfil.configure(queueing_lock=key).defer_async(
            reseller=reseller, order=order.model_dump()
        )
    except AlreadyEnqueued:
        return Accepted(id=key)
    return Accepted(id=key)


@tasks.task(
    # Without a name it is the module's, which differs between the API and the worker.
    name="fulfil",
    pass_context=True,
    retry=procrastinate.RetryStrategy(max_attempts=5, linear_wait=2, retry_exceptions={Refused}),
)
async def fulfil(context: procrastinate.JobContext, reseller: int, order: dict[str, Any]) -> None:
    """Buy an order and report it."""
    await shop.fulfil(context.additional_context["calls"], reseller, order)


@tasks.periodic(cron="* * * * * */5")
@tasks.task(queueing_lock="retry_stalled_jobs", pass_context=True)
async def retry_stalled_jobs(context: procrastinate.JobContext, timestamp: int) -> None:
    """Take up the jobs of dead workers, as procrastinate's page on stalled jobs shows."""
    manager = tasks.job_manager
    for job in await manager.get_stalled_jobs(seconds_since_heartbeat=_STALLED_SECONDS):
        await manager.retry_job(job)


async def apply_schema() -> None:
    """Make procrastinate's tables."""
    async with tasks.open_async():
        await tasks.schema_manager.apply_schema_async()


async def work() -> None:
    """Do jobs until told to stop. Those that succeeded are deleted, so that fetching stays fast."""
    module = importlib.import_module(f"loadtests.peers.{os.environ['HTTP_CLIENT']}_calls")
    async with tasks.open_async(), module.open_calls(2 * _AT_ONCE, _CALL_SECONDS) as calls:
        await tasks.run_worker_async(
            concurrency=_AT_ONCE,
            delete_jobs="successful",
            additional_context={"calls": calls},
            update_heartbeat_interval=_HEARTBEAT_SECONDS,
            stalled_worker_timeout=_STALLED_SECONDS,
        )


if __name__ == "__main__":
    uvloop.run({"schema": apply_schema, "work": work}[sys.argv[1]]())
