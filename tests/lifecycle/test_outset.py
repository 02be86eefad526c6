"""From where a queue is looked at: behind what is done, and never for long behind what is not."""

from datetime import datetime, timedelta

import pytest

from app.lifecycle.outset import EVER, Looks, Outset
from app.storage import deliveries
from app.storage.pool import Connection, Pool
from app.storage.work_queues import WorkQueue

SECOND = timedelta(seconds=1)
INSERTED = """
    insert into deliveries (lane, delivery_id, reseller_id, endpoint_id, event_id, event_seq,
                            due_at)
    values (1, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1,
            now() + $1::interval)
"""


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outset(clock: Clock) -> Outset:
    return Outset(deliveries.first_due, WorkQueue.WAITING, clock)


async def now(connection: Connection) -> datetime:
    return await connection.fetchval("select now()")


async def test_looks_begin_a_moment_ago_where_nothing_is_left(pool: Pool, outset: Outset):
    async with pool.acquire() as connection:
        await connection.execute(INSERTED, 60 * SECOND)
        moment = await outset.moment(connection)
        assert timedelta(0) < await now(connection) - moment < 30 * SECOND


async def test_looks_begin_before_whatever_is_still_due(pool: Pool, outset: Outset, clock: Clock):
    async with pool.acquire() as connection:
        await connection.execute(INSERTED, -3600 * SECOND)
        oldest = await connection.fetchval("select due_at from deliveries")
        for _ in range(40):
            clock.seconds += 1
            assert EVER < await outset.moment(connection) < oldest


@pytest.mark.parametrize(("late_by", "found_at"), [(3, 2), (3600, 60)])
async def test_what_is_seen_late_is_found_by_a_look_that_goes_further_back(
    pool: Pool, outset: Outset, clock: Clock, late_by: int, found_at: int
):
    async with pool.acquire() as connection:
        await outset.moment(connection)
        await connection.execute(INSERTED, -late_by * SECOND)
        late = await connection.fetchval("select due_at from deliveries")
        clock.seconds = found_at - 1
        assert await outset.moment(connection) > late
        clock.seconds = found_at
        assert await outset.moment(connection) < late


async def test_leases_are_looked_for_once_a_second_and_again_where_some_had_run_out(clock: Clock):
    looks = Looks(deliveries.first_due, clock)
    both, waiting = (WorkQueue.LEASED, WorkQueue.WAITING), (WorkQueue.WAITING,)
    assert looks.queues() == both
    assert looks.queues() == waiting
    clock.seconds = 1
    assert looks.queues() == both
    looks.looked(WorkQueue.LEASED, 3, everywhere=True)
    assert looks.queues() == both
    looks.looked(WorkQueue.LEASED, 0, everywhere=True)
    looks.looked(WorkQueue.WAITING, 3, everywhere=False)
    assert looks.queues() == waiting


async def test_leases_are_looked_for_again_soon_where_there_was_no_place(clock: Clock):
    looks = Looks(deliveries.first_due, clock)
    looks.queues()
    looks.looked(WorkQueue.LEASED, 0, everywhere=False)
    assert looks.queues() == (WorkQueue.WAITING,)
    clock.seconds = 0.1
    assert looks.queues() == (WorkQueue.LEASED, WorkQueue.WAITING)


@pytest.mark.parametrize("queue", WorkQueue)
async def test_a_queue_knows_nothing_of_the_other(pool: Pool, queue: WorkQueue):
    async with pool.acquire() as connection:
        await connection.execute(INSERTED, -3600 * SECOND)
        if queue is WorkQueue.LEASED:
            await connection.execute("update deliveries set claim_id = gen_random_uuid()")
        due_at = await connection.fetchval("select due_at from deliveries")
        found = {each: await deliveries.first_due(connection, each, EVER) for each in WorkQueue}
    assert [each for each in WorkQueue if found[each] == due_at] == [queue]
