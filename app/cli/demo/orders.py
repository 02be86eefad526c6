"""The demo's orders: sent as a reseller would send them, over HTTP, patiently.

The last two digits of the numbers run through 00 to 99, so that a hundred orders meet every
behaviour of the simulated dealers.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from app.cli.demo.seed import BRANDS, DENOMINATIONS

_CONCURRENCY = 16
_TRIES = 60
_AGAIN_SECONDS = 0.5
_AGAIN = frozenset({409, 429, 503})


@dataclass(slots=True)
class Sent:
    """What was sent and accepted. Times are monotonic seconds."""

    run: str
    accepted: dict[str, str] = field(default_factory=dict[str, str])
    """ref_id to order id."""
    refused: dict[str, str] = field(default_factory=dict[str, str])
    """ref_id to the problem's code."""
    started: float = 0.0
    finished: float = 0.0


def order_body(run: str, number: int) -> dict[str, object]:
    """The order with this number: its digits decide what the dealer will do."""
    brand = BRANDS[number % len(BRANDS)]
    denomination = DENOMINATIONS[number // len(BRANDS) % len(DENOMINATIONS)]
    return {
        "ref_id": f"{run}-{number:06d}",
        "sku": f"{brand.sku}{denomination // 1000}",
        "customer_number": f"{brand.number}{number // 100 % 1_000_000:06d}{number % 100:02d}",
        # An order of an earlier run may still be looked into.
        "allow_repeat": True,
    }


async def send_orders(
    base_url: str, api_key: str, run: str, count: int, progress: Callable[[int], None]
) -> Sent:
    """Send `count` orders, several at a time; one refused for the moment is sent again."""
    sent = Sent(run, started=time.monotonic())
    numbers = iter(range(count))
    headers = {"authorization": f"Bearer {api_key}"}
    async with httpx.AsyncClient(
        base_url=base_url, headers=headers, timeout=30, trust_env=False
    ) as client:

        async def worker() -> None:
            for number in numbers:
                await _send(client, order_body(run, number), sent)
                progress(len(sent.accepted) + len(sent.refused))

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_CONCURRENCY, count)):
                group.create_task(worker())
    sent.finished = time.monotonic()
    return sent


async def _send(client: httpx.AsyncClient, body: dict[str, object], sent: Sent) -> None:
    """Send one order until it is accepted, or refused for good."""
    reference = str(body["ref_id"])
    code = "no-answer"
    for _ in range(_TRIES):
        try:
            answer = await client.post("/v1/orders", json=body)
        except httpx.TransportError:
            await asyncio.sleep(_AGAIN_SECONDS)
            continue
        if answer.is_success:
            sent.accepted[reference] = answer.json()["id"]
            return
        code = answer.json()["code"]
        if answer.status_code not in _AGAIN:
            break
        await asyncio.sleep(_AGAIN_SECONDS)
    sent.refused[reference] = code
