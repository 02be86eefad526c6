"""Activities side by side, for loops that try again when one of them fails."""

import asyncio
from collections.abc import Coroutine


async def until_one_fails(*activities: Coroutine[None, None, None]) -> None:
    """Run activities that do not end by themselves, until one fails, and raise its error.

    Not a task group: one that fails while its task is cancelled keeps the cancellation to itself,
    and the loop around it would go on for ever.
    """
    tasks = [asyncio.create_task(each) for each in activities]  # noqa: TID251 - see above
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        task.result()


def is_cancelled() -> bool:
    """Whether this task was told to end, for loops around redis-py, which may keep a cancellation
    to itself: a loop that goes on then is waited for for ever."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
