"""Two installations in a chain: real processes, a dealer behind the second one, real sockets."""

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio

from app.embedded.postgres import RunningPostgres
from app.signatures import sign
from loadtests.chain import (
    DOWNSTREAM_PRICE,
    ENDS,
    UPSTREAM_PRICE,
    Pair,
    buy,
    faults_of,
    finish,
    furnish_pair,
    taken_callbacks,
    try_every_behaviour,
    unexpected_ends,
    write_simulator,
)
from loadtests.programs import running
from tests.chain.between import Between, Loss, standing_between
from tests.ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")


NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Chain:
    pair: Pair
    simulator_url: str
    between: Between

    async def finish(self) -> list[dict[str, str | None]]:
        """Wait until nothing is left to do; every witness must agree. Returns the book."""
        book = await finish(self.pair, self.simulator_url)
        assert await faults_of(self.pair, book) == []
        return book

    async def ends(self, prefix: str) -> list[str]:
        account = await self.pair.downstream.account(self.pair.customer)
        return [each.status for each in account.outcomes if each.ref_id.startswith(prefix)]

    async def upstream_numbers(self) -> list[str]:
        account = await self.pair.upstream.account(self.pair.link)
        return [each.customer_number for each in account.outcomes]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_chain(
    tmp_path_factory: pytest.TempPathFactory, postgres: RunningPostgres
) -> AsyncIterator[Chain]:
    """Both run, and something stands between them."""
    tmp_path = tmp_path_factory.mktemp("chain")
    ports, between_port = [free_port(), free_port()], free_port()
    config = write_simulator(tmp_path / "simulator.json", ports[1])
    with ExitStack() as stack:
        command = ["dealers.simulator", "--config", str(config), "--port", "0"]
        simulator = stack.enter_context(running("simulator", command, tmp_path))
        simulator_url = json.loads(simulator.read_line())["listening"]
        address = f"http://127.0.0.1:{between_port}"
        pair = await furnish_pair(postgres.dsn, ports, simulator_url, address)
        for each in (pair.upstream, pair.downstream):
            stack.enter_context(each.serving(tmp_path))
        async with standing_between(pair.upstream.base_url, between_port) as between:
            yield Chain(pair, simulator_url, between)


@pytest_asyncio.fixture(loop_scope="module")
async def chain(running_chain: Chain) -> Chain:
    """The chain, nothing being lost on the way; what a test loses opens no breaker for the next."""
    running_chain.between.loss = Loss.NONE
    calm = {f"quiet-{number}": f"0822{number:06d}00" for number in new_numbers(2)}
    await buy(running_chain.pair, calm)
    await running_chain.finish()
    return running_chain


def new_numbers(count: int) -> list[int]:
    return [next(NUMBERS) for _ in range(count)]


async def test_every_behaviour_of_the_dealer_ends_alike_at_both(chain: Chain):
    money, theirs_before = await spent(chain)
    await try_every_behaviour(chain.pair, chain.simulator_url)
    book = await chain.finish()

    assert await unexpected_ends(chain.pair, "digits-") == []
    delivered = [row for row in book if str(row["customer_number"]).startswith("0812345678")]
    assert len(delivered) == sum(status != "failed" for status, _ in ENDS.values())
    assert await taken_callbacks(chain.pair.downstream) >= len(ENDS)
    calm = sum(str(row["customer_number"]).startswith("0821") for row in book)
    kept = calm + sum(status == "succeeded" for status, _ in ENDS.values())
    mine, theirs = await spent(chain)
    assert mine - money == kept * DOWNSTREAM_PRICE
    assert theirs - theirs_before == kept * UPSTREAM_PRICE
    async with chain.pair.downstream.connection() as connection:
        charged = await connection.fetchval(
            "select sum(charged) from attempts where state = 'succeeded'"
        )
    assert charged == theirs


async def spent(chain: Chain) -> tuple[int, int]:
    """What the customer spent at the first installation, and that one at the second."""
    mine = await chain.pair.downstream.account(chain.pair.customer)
    theirs = await chain.pair.upstream.account(chain.pair.link)
    assert (mine.reserved_rupiah, theirs.reserved_rupiah) == (0, 0)
    return mine.spent_rupiah, theirs.spent_rupiah


async def test_order_carries_the_first_installation_to_the_second(chain: Chain):
    await buy(chain.pair, {"plain-1": "081211111100"})
    await chain.finish()

    hops = "select hops from orders where customer_number = '081211111100'"
    async with chain.pair.upstream.connection() as connection:
        above = await connection.fetchval(hops)
    async with chain.pair.downstream.connection() as connection:
        below = await connection.fetchval(hops)
    assert (below, above) == (None, [await chain.pair.downstream.public_id()])


@pytest.mark.parametrize("loss", [Loss.CUT_AFTER, Loss.BAD_GATEWAY])
@pytest.mark.parametrize("webhooks", [True, False])
async def test_lost_answer_of_a_purchase_that_arrived_buys_once(
    chain: Chain, loss: Loss, webhooks: bool
):
    await tell_by_webhook(chain, webhooks)
    chain.between.loss = loss
    lost, asked, before = chain.between.lost, chain.between.asked, len(await chain.finish())
    name = f"{loss.name}-{webhooks}"
    numbers = {f"{name}-{number}": f"0813{number:06d}00" for number in new_numbers(2)}
    await buy(chain.pair, numbers)
    book = await chain.finish()
    await tell_by_webhook(chain, True)

    assert await chain.ends(name) == ["succeeded"] * 2
    assert (len(book) - before, chain.between.lost - lost) == (2, 2)
    assert chain.between.asked > asked or webhooks


async def tell_by_webhook(chain: Chain, wanted: bool) -> None:
    """Whether the second installation tells the first one, or that one has to ask."""
    async with chain.pair.upstream.connection() as connection:
        await connection.execute(
            "update webhook_endpoints set status = $1", "active" if wanted else "deleted"
        )


async def test_purchase_that_never_arrived_fails_once_its_absence_is_sure(chain: Chain):
    chain.between.loss = Loss.CUT_BEFORE
    asked = chain.between.asked
    await buy(chain.pair, {"gone-1": "081222222200"})
    await chain.finish()

    assert await chain.ends("gone") == ["failed"]
    assert "081222222200" not in await chain.upstream_numbers()
    assert chain.between.asked >= asked + 2


async def test_old_success_sent_again_does_not_charge_for_what_failed(chain: Chain):
    """Its signature is right and its words were true once; the question behind it tells."""
    await buy(chain.pair, {"old-1": "081233333372"})
    await chain.finish()
    before = chain.between.asked
    async with chain.pair.upstream.connection() as connection:
        body = await connection.fetchval(
            "select payload::text from events join orders using (lane, order_id) "
            "where customer_number = '081233333372'"
        )
    event = json.loads(body)
    event["type"], event["data"]["status"], event["data"]["failure"] = (
        "order.succeeded",
        "succeeded",
        None,
    )
    await _post_webhook(chain.pair, json.dumps(event).encode())
    await chain.finish()

    assert await chain.ends("old") == ["failed"]
    assert chain.between.asked == before + 1


async def _post_webhook(pair: Pair, body: bytes) -> None:
    headers = {
        "webhook-id": "evt_old",
        "webhook-timestamp": "1795308006",
        "webhook-signature": sign([pair.webhook_secret], "evt_old", 1795308006, body),
    }
    address = pair.downstream.callback_url(pair.upstream.name)
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        assert (await client.post(address, content=body, headers=headers)).status_code == 200
