"""Activities end when they are told to, whatever keeps a cancellation to itself."""

import asyncio
import contextlib

from app.activities import is_cancelled, until_one_fails


async def keep_a_cancellation() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(30)


async def test_a_loop_ends_although_what_it_calls_kept_the_cancellation() -> None:
    async def loop() -> None:
        while not is_cancelled():
            await keep_a_cancellation()

    running = asyncio.ensure_future(until_one_fails(loop(), loop()))
    await asyncio.sleep(0.01)
    running.cancel()
    ended, _ = await asyncio.wait([running], timeout=5)
    assert ended
    assert running.cancelled()
