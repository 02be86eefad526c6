"""One simulator with short waits and one receiver for its callbacks, shared by a module."""

from collections.abc import Iterator

import pytest

from tests.dealers.simulator.buyers import Buyer, DigiflazzBuyer, JalurBuyer, OtomaxBuyer
from tests.dealers.simulator.receiver import Receiver
from tests.dealers.simulator.simulators import RunningSimulator, configuration, simulator


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(scope="module")
def running(
    receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningSimulator]:
    folder = tmp_path_factory.mktemp("simulator")
    with simulator(folder, configuration(receiver.url)) as started:
        yield started


@pytest.fixture(scope="module", params=[DigiflazzBuyer, OtomaxBuyer, JalurBuyer])
def buyer(request: pytest.FixtureRequest, running: RunningSimulator) -> Buyer:
    return request.param(running.url)
