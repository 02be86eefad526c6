"""The example shops, run as their pages say, against a whole service."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.demo import running_demo
from tests.ports import free_port

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
ENDS = {
    "081234567800": "succeeded",
    "081234567874": "failed",
    "081234567880": "reversed",
    "0812": "refused",
}


@dataclass(slots=True)
class Shop:
    """An example on its own port, opened and closed like a shop."""

    serve: Sequence[str]
    open: Sequence[str] | None
    port: int
    settings: Mapping[str, str]
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def opened(self) -> Iterator[None]:
        environment = {**os.environ, **self.settings, "SHOP_PORT": str(self.port)}
        with subprocess.Popen(self.serve, env=environment, stderr=subprocess.DEVNULL) as serving:
            try:
                wait(lambda: httpx.get(f"{self.url}/sales/SHOP-0", trust_env=False) is not None)
                if self.open is not None:
                    subprocess.run(self.open, env=environment, check=True, timeout=60)
                yield
            finally:
                serving.terminate()

    def sell(self, number: str) -> dict[str, Any]:
        body = {"sku": "S10", "number": number}
        answer = httpx.post(f"{self.url}/sales", json=body, timeout=60, trust_env=False)
        assert answer.status_code == 201
        return answer.json()

    def sale(self, ref_id: str) -> dict[str, Any]:
        return httpx.get(f"{self.url}/sales/{ref_id}", trust_env=False).json()


def wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if done():
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise TimeoutError


@pytest.fixture(scope="module")
def demo() -> Iterator[Mapping[str, str]]:
    folder = Path(tempfile.mkdtemp(prefix="jalur-shops-", dir="/tmp"))
    folder.chmod(0o755)
    with running_demo(folder) as handout:
        yield handout
    shutil.rmtree(folder, ignore_errors=True)


def python_shop(port: int) -> tuple[Sequence[str], Sequence[str] | None]:
    return [sys.executable, str(EXAMPLES / "python" / "shop.py")], None


def php_shop(port: int) -> tuple[Sequence[str], Sequence[str] | None]:
    php = shutil.which("php")
    if php is None:
        pytest.skip("php is not at hand: apt-get install php-cli")
    program = str(EXAMPLES / "php" / "shop.php")
    return [php, "-S", f"127.0.0.1:{port}", program], [php, program]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("make", [python_shop, php_shop])
def test_a_shop_sells_hears_and_catches_up(
    demo: Mapping[str, str],
    tmp_path: Path,
    make: Callable[[int], tuple[Sequence[str], Sequence[str] | None]],
) -> None:
    port = free_port()
    key = key_of_a_new_reseller(demo, port)
    settings = {
        "JALUR_URL": demo["base_url"],
        "JALUR_KEY": key,
        "SHOP_URL": f"http://127.0.0.1:{port}",
        "SHOP_FILE": str(tmp_path / "books"),
        "PHP_CLI_SERVER_WORKERS": "4",
    }
    shop = Shop(*make(port), port, settings)
    with shop.opened():
        sold = {number: shop.sell(number)["ref_id"] for number in ENDS}
        wait(lambda: all(shop.sale(sold[number])["status"] == end for number, end in ENDS.items()))
        assert shop.sale(sold["081234567800"])["serial_number"]
        assert shop.sale(sold["0812"])["why"] == "invalid-number"
        forged = {"type": "order.failed", "data": {"ref_id": sold["081234567800"], "version": 99}}
        answer = httpx.post(f"{shop.url}/jalur", json=forged, trust_env=False)
        assert answer.status_code == 400
        slow = shop.sell("081234567886")["ref_id"]
        assert shop.sale(slow)["status"] in ("accepted", "processing")
    wait(lambda: status_at(demo, key, slow) == "succeeded")
    with shop.opened():
        wait(lambda: shop.sale(slow)["status"] == "succeeded")
        for number, end in ENDS.items():
            assert shop.sale(sold[number])["status"] == end


def status_at(demo: Mapping[str, str], key: str, ref_id: str) -> str:
    """What the service says about an order."""
    answer = httpx.get(
        f"{demo['base_url']}/v1/orders",
        params={"ref_id": ref_id},
        headers={"authorization": f"Bearer {key}"},
        trust_env=False,
    )
    (order,) = answer.json()["data"]
    return order["status"]


def key_of_a_new_reseller(demo: Mapping[str, str], number: int) -> str:
    """A reseller of the shop's own, with money: its references are nobody else's."""
    headers = {"authorization": f"Bearer {demo['admin_token']}"}
    with httpx.Client(base_url=demo["base_url"], headers=headers, trust_env=False) as operator:
        made = operator.post("/admin/v1/resellers", json={"name": f"Toko {number}"}).json()
        theirs = f"/admin/v1/resellers/{made['id']}"
        paid_in = {"amount": 1_000_000, "reference": "first"}
        assert operator.post(f"{theirs}/deposits", json=paid_in).status_code == 201
        return operator.post(f"{theirs}/keys", json={}).json()["key"]
