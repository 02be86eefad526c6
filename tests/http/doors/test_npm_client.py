"""An independent client of Digiflazz, from npm and unchanged, buys at the door.

Its base address is fixed in its code; a preload sends what is meant for there to the door. The test
says so where Node or the registry is absent.
"""

import asyncio
import json
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from app.http.server import build_app
from app.shapes import digiflazz
from app.shapes.telling import State, Told
from dealers.contract import Outcome
from tests.http.doors.client import open_door
from tests.http.shop import Customer, Shop

PACKAGE = "digiflazz@1.1.1"
HERE = Path(__file__).parent
INSTALL_SECONDS = 120

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="Node is absent"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package is installed, with our script beside it."""
    made = tmp_path_factory.mktemp("npm")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
    try:
        done = subprocess.run(
            command, cwd=made, timeout=INSTALL_SECONDS, capture_output=True, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry is absent")
    if done.returncode:
        pytest.skip("the npm registry is absent")
    shutil.copy(HERE / "shopkeeper.js", made)
    return made


@asynccontextmanager
async def serving(shop: Shop) -> AsyncGenerator[str]:
    """The application at a real address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(build_app(shop.api), lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/doors/digiflazz"
    server.should_exit = True
    await running


async def run(folder: Path, *arguments: str, **environment: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        "node",
        "--require",
        str(HERE / "elsewhere.js"),
        "shopkeeper.js",
        *arguments,
        cwd=folder,
        env={**os.environ, "NODE_NO_WARNINGS": "1", **environment},
        stdout=subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return json.loads(out)


async def test_a_client_from_npm_buys_at_the_door(
    shop: Shop, customer: Customer, folder: Path
) -> None:
    client = await open_door(shop, customer, "digiflazz")
    key = client.account.credentials["api_key"]
    async with serving(shop) as door:
        said = await run(folder, client.name, key, "wrong", "", DOOR=door)
        listed = (await customer.http.get("/v1/orders")).json()["data"]
        await (await shop.send_to_dealer(listed[0])).hear(Outcome.SUCCEEDED, serial_number="55")
        later = await run(folder, client.name, key, "wrong", "", DOOR=door)

    assert said["balance"] == {"data": {"deposit": 1_000_000}}
    assert [each["buyer_sku_code"] for each in said["prices"]["data"]] == ["TSEL10", "XL10"]
    assert said["bought"]["data"]["status"] == said["again"]["data"]["status"] == "Pending"
    assert said["unknown"]["data"]["rc"] == "43"
    assert "error" in said["stranger"]
    assert (later["bought"]["data"]["status"], later["bought"]["data"]["sn"]) == ("Sukses", "55")
    assert len(listed) == 1


async def test_a_client_from_npm_takes_our_webhook(folder: Path) -> None:
    told = Told("R/1", "TSEL10", "081234567800", State.SUCCEEDED, serial_number="é/5", price=10_500)
    sending = digiflazz.callback(told, "evt_1", "hook")
    webhook = json.dumps({"headers": dict(sending.headers), "body": sending.body.decode()})
    said = await run(folder, "j", "k", "w", "hook", DOOR="http://127.0.0.1:9", WEBHOOK=webhook)
    assert said["hook"]["event"] == "update"
    assert said["hook"]["data"]["sn"] == "é/5"
