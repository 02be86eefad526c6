"""Two installations in a chain: real processes, a dealer behind the second one, real sockets."""

import json
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

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
    unexpected_ends,
    write_simulator,
)
from loadtests.programs import running
from tests.chain.between import Between, Loss, standing_between
from tests.ports import free_port


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

    async def ends(self) -> dict[str, str]:
        account = await self.pair.downstream.account(self.pair.customer)
        return {each.ref_id: each.status for each in account.outcomes}

    async def upstream_orders(self) -> int:
        return len((await self.pair.upstream.account(self.pair.link)).outcomes)


@pytest.fixture
async def chain(tmp_path: Path, postgres: RunningPostgres) -> AsyncIterator[Chain]:
    """Both run, and something stands between them."""
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


async def test_every_behaviour_of_the_dealer_ends_alike_at_both(chain: Chain):
    numbers = {f"digits-{digits}": f"0812345678{digits}" for digits in ENDS}
    await buy(chain.pair, numbers)
    book = await chain.finish()

    assert await unexpected_ends(chain.pair) == []
    assert len(book) == sum(status != "failed" for status, _ in ENDS.values())
    assert await taken_callbacks(chain.pair.downstream) >= len(ENDS)
    kept = sum(status == "succeeded" for status, _ in ENDS.values())
    mine = await chain.pair.downstream.account(chain.pair.customer)
    theirs = await chain.pair.upstream.account(chain.pair.link)
    assert (mine.spent_rupiah, mine.reserved_rupiah) == (kept * DOWNSTREAM_PRICE, 0)
    assert (theirs.spent_rupiah, theirs.reserved_rupiah) == (kept * UPSTREAM_PRICE, 0)
    async with chain.pair.downstream.connection() as connection:
        charged = await connection.fetchval(
            "select sum(charged) from attempts where state = 'succeeded'"
        )
    assert charged == theirs.spent_rupiah


async def test_order_carries_the_first_installation_to_the_second(chain: Chain):
    await buy(chain.pair, {"plain-1": "081234567800"})
    await chain.finish()

    async with chain.pair.upstream.connection() as connection:
        hops = await connection.fetchval("select hops from orders")
    async with chain.pair.downstream.connection() as connection:
        assert await connection.fetchval("select hops from orders") is None
    assert hops == [await chain.pair.downstream.public_id()]


@pytest.mark.parametrize("loss", [Loss.CUT_AFTER, Loss.BAD_GATEWAY])
@pytest.mark.parametrize("webhooks", [True, False])
async def test_lost_answer_of_a_purchase_that_arrived_buys_once(
    chain: Chain, loss: Loss, webhooks: bool
):
    if not webhooks:
        async with chain.pair.upstream.connection() as connection:
            await connection.execute("update webhook_endpoints set status = 'deleted'")
    chain.between.loss = loss
    await buy(chain.pair, {f"lost-{number}": f"08123456{number}00" for number in range(10, 15)})
    book = await chain.finish()

    assert set((await chain.ends()).values()) == {"succeeded"}
    assert (len(book), chain.between.lost) == (5, 5)
    assert bool(chain.between.asked) or webhooks


async def test_purchase_that_never_arrived_fails_once_its_absence_is_sure(chain: Chain):
    chain.between.loss = Loss.CUT_BEFORE
    await buy(chain.pair, {"gone-1": "081234567800"})
    book = await chain.finish()

    assert await chain.ends() == {"gone-1": "failed"}
    assert (await chain.upstream_orders(), book, chain.between.lost) == (0, [], 1)
    assert chain.between.asked >= 2


async def test_old_success_sent_again_does_not_charge_for_what_failed(chain: Chain):
    """Its signature is right and its words were true once; the question behind it tells."""
    await buy(chain.pair, {"failed-1": "081234567872"})
    await chain.finish()
    before = chain.between.asked
    async with chain.pair.upstream.connection() as connection:
        body = await connection.fetchval("select payload::text from events")
    event = json.loads(body)
    event["type"], event["data"]["status"], event["data"]["failure"] = (
        "order.succeeded",
        "succeeded",
        None,
    )
    await _post_webhook(chain.pair, json.dumps(event).encode())
    await chain.finish()

    assert await chain.ends() == {"failed-1": "failed"}
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
