"""Three installations that buy from each other in a circle: what comes round is refused."""

from contextlib import ExitStack
from pathlib import Path

from app.embedded.postgres import RunningPostgres
from loadtests.chain import furnish_circle, show_circle
from tests.ports import free_port


async def test_order_that_comes_round_fails_and_leaves_no_money_behind(
    tmp_path: Path, postgres: RunningPostgres
):
    ports = [free_port() for _ in range(3)]
    circle, buyers, customer = await furnish_circle(postgres.dsn, ports)
    with ExitStack() as stack:
        for each in circle:
            stack.enter_context(each.serving(tmp_path))
        seen, faults = await show_circle(circle, buyers, customer)
        hops = []
        for each in circle:
            async with each.connection() as connection:
                hops.append(await connection.fetchval("select hops from orders"))

    assert faults == []
    assert (seen.status, seen.failure, seen.orders) == ("failed", "not-delivered", 3)
    assert (seen.reserved_rupiah, seen.spent_rupiah) == (0, 0)
    first, second, _ = [await each.public_id() for each in circle]
    assert hops == [None, [first], [first, second]]
