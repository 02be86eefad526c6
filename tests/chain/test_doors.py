"""Another installation buys through each door: real processes, real sockets, a dealer behind."""

import json
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import ip_network

import pytest
import pytest_asyncio

from app.administration.doors import DoorTools, WantedDoor, add
from app.embedded.postgres import RunningPostgres
from app.outbound.addresses import AddressPolicy
from app.sealing import Sealer
from app.storage.pool import PoolSettings, open_pool
from loadtests.chain import (
    CREDENTIALS,
    DEALER,
    DEALER_COST,
    DOWNSTREAM_PRICE,
    UPSTREAM_PRICE,
    Pair,
    buy,
    faults_of,
    finish,
    taken_callbacks,
    try_every_behaviour,
    unexpected_ends,
    write_simulator,
)
from loadtests.installations import Buyer, Installation, Supplier, install
from loadtests.programs import running
from tests.ports import free_port
from tests.shops import OPERATOR

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATHS = {"digiflazz": "/doors/digiflazz/v1", "otomax": "/doors/otomax", "irs": "/doors/irs/trx"}
LOOPBACK = (ip_network("127.0.0.0/8"),)
QUICK = {"check_interval_seconds": "0.2"}
OPTIONS = {
    "digiflazz": QUICK,
    "otomax": QUICK,
    "irs": {
        **QUICK,
        "same_idtrx_is_status_days": "90",
        "price_limit_parameter": "hargamax",
    },
}
TELLS_LATER = ("digiflazz", "otomax")
"""Where what changes after the end can be settled. An unsigned report of IRS about a purchase that
has ended cannot be asked about, since asking is a purchase: it goes to people. So there, the door
does not call back, and its client asks."""

ENDED_ONCE = ("00", "70", "71", "72", "73", "74", "75", "77", "78", "81", "86")
PAID_BACK_EARLY = "digits-80 "
"""Who looks only after the money is back has never seen the success: it failed there, without a
serial number, and is reversed above. Neither side is charged."""

SIMULATED = Supplier(DEALER, "digiflazz", "", DEALER_COST, CREDENTIALS, QUICK)


@dataclass(frozen=True)
class Passage:
    """A pair of installations with a door between them."""

    shape: str
    pair: Pair
    simulator_url: str


async def door_between(
    upstream: Installation, downstream: Installation, link: Buyer, shape: str
) -> Supplier:
    """`upstream` as a dealer of `downstream`, which comes in through a door."""
    sealer = Sealer([upstream.secret_key])
    tools = DoorTools(sealer, AddressPolicy(allow_http=True, allow=LOOPBACK))
    pool = await open_pool(PoolSettings(upstream.dsn, max_size=2))
    told_at = downstream.callback_url(upstream.name) if shape in TELLS_LATER else None
    wanted = WantedDoor(shape, callback_url=told_at)
    opened = await add(pool, OPERATOR, tools, str(link.reseller_id), wanted)
    await pool.close()
    address = upstream.base_url + PATHS[shape]
    options = OPTIONS[shape]
    return Supplier(
        upstream.name, shape, address, UPSTREAM_PRICE, dict(opened.credentials), options
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=sorted(PATHS))
async def passage(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    postgres: RunningPostgres,
) -> AsyncIterator[Passage]:
    shape, tmp_path = request.param, tmp_path_factory.mktemp("door")
    ports = [free_port(), free_port()]
    downstream = await install(postgres.dsn, f"hilir_{shape}", ports[0])
    upstream = await install(postgres.dsn, f"hulu_{shape}", ports[1])
    config = write_simulator(tmp_path / "simulator.json", ports[1])
    with ExitStack() as stack:
        command = ["dealers.simulator", "--config", str(config), "--port", "0"]
        simulator = stack.enter_context(running("simulator", command, tmp_path))
        simulator_url = json.loads(simulator.read_line())["listening"]
        link, customer = await upstream.enrol("hilir"), await downstream.enrol("Toko")
        dealer = replace(SIMULATED, base_url=f"{simulator_url}/{DEALER}")
        await upstream.trade({"standard": UPSTREAM_PRICE}, [dealer])
        supplier = await door_between(upstream, downstream, link, shape)
        await downstream.trade({"standard": DOWNSTREAM_PRICE}, [supplier])
        for each in (upstream, downstream):
            stack.enter_context(each.serving(tmp_path))
        yield Passage(shape, Pair(downstream, upstream, customer, link, ""), simulator_url)


async def test_every_behaviour_of_the_dealer_ends_alike_on_both_sides_of_a_door(passage: Passage):
    pair = passage.pair
    if passage.shape in TELLS_LATER:
        await try_every_behaviour(pair, passage.simulator_url)
    else:
        await buy(pair, {f"digits-{digits}": f"0812345678{digits}" for digits in ENDED_ONCE})
    await finish(pair, passage.simulator_url)
    await buy(pair, {f"plain-{number}": f"0812{number:06d}00" for number in range(5)})
    book = await finish(pair, passage.simulator_url)

    faults, ends = await faults_of(pair, book), await unexpected_ends(pair)
    assert [each for each in faults if not each.startswith(PAID_BACK_EARLY)] == []
    assert [each for each in ends if not each.startswith("digits-80 ended failed")] == []
    assert (await taken_callbacks(pair.downstream) > 0) == (passage.shape in TELLS_LATER)
    async with pair.upstream.connection() as connection:
        undelivered = await connection.fetchval(
            "select count(*) from deliveries where state <> 'delivered'"
        )
    assert undelivered == 0
