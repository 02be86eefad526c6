"""A whole shop for fault tests: real processes that can be killed, stopped and started again.

The service runs as `python -m app …` against a real PostgreSQL and Valkey; the dealer simulator and
the webhook receiver are processes of their own, so they see what the service does when it dies.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
from uuid_utils.compat import uuid7

from app.cli.demo import seed
from app.sealing import Sealer, generate_key
from app.storage import api_keys, lives, statements
from app.storage.lanes import lane_of
from app.storage.lives import Outcome
from app.storage.pool import PoolSettings, open_pool
from tests.ports import free_port

LEASE_SECONDS = 5.0
_SIMULATOR_SECONDS = {
    "callback_seconds": 0.3,
    "late_success_seconds": 0.8,
    "reversal_seconds": 0.8,
    "late_answer_seconds": 3.0,
    "slow_answer_seconds": 1.0,
    "late_serial_seconds": 0.5,
    "callback_retry_seconds": 0.3,
}
_DEALER_TIMEOUT_SECONDS = 1.5
_START_SECONDS = 60.0


@dataclass
class Process:
    """One of our programs, to be ended by its id."""

    popen: "subprocess.Popen[bytes]"
    log: Path | None = None

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def terminate(self, seconds: float = 30.0) -> int:
        self.popen.terminate()
        return self.popen.wait(seconds)

    def settled(self) -> int:
        """How many words this service has settled."""
        assert self.log is not None
        return self.log.read_bytes().count(b'"event":"attempt.settled"')


@dataclass
class Shop:
    """Addresses, keys and processes of one shop."""

    folder: Path
    dsn: str
    redis_url: str | None
    port: int = field(default_factory=free_port)
    secret_key: str = field(default_factory=generate_key)
    reseller_id: UUID = field(default_factory=uuid7)
    key: api_keys.GeneratedKey = field(default_factory=api_keys.generate)
    simulator_url: str = ""
    receiver_url: str = ""
    processes: list[Process] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def lane(self) -> int:
        return lane_of(self.reseller_id)

    # ---- processes

    def start_helpers(self) -> None:
        config = self.folder / "simulator.json"
        config.write_text(json.dumps(seed.simulator_config(self.base_url, _SIMULATOR_SECONDS)))
        self.simulator_url = self._helper("dealers.simulator", "--config", str(config))
        self.receiver_url = self._helper("app.cli.receiver", "--state-dir", str(self.folder))

    def _helper(self, module: str, *arguments: str) -> str:
        command = [sys.executable, "-m", module, "--port", "0", *arguments]
        popen = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.processes.append(Process(popen))
        assert popen.stdout is not None
        with popen.stdout:
            return json.loads(popen.stdout.readline())["listening"]

    def start(self, role: str = "serve", port: int | None = None, **settings: str) -> Process:
        """Start a service process; returns at once."""
        environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": self.dsn,
            "JALUR_SECRET_KEY": self.secret_key,
            "JALUR_PORT": str(port or self.port),
            "JALUR_LEASE_SECONDS": str(LEASE_SECONDS),
            "JALUR_REVIEW_AFTER_SECONDS": "60",
            "JALUR_CHECK_SCHEDULE": "0.3",
            "JALUR_WEBHOOK_ALLOW": "127.0.0.0/8",
            "JALUR_WEBHOOK_ALLOW_HTTP": "true",
            "JALUR_WEBHOOK_SCHEDULE_SECONDS": "0," + "0.3," * 40 + "1",
            "JALUR_WEBHOOK_TIMEOUT_SECONDS": "1",
            "JALUR_GRACE_SECONDS": "10",
            # A machine that is busy with other tests is no overload.
            "JALUR_QUEUE_TARGET_SECONDS": "5",
            **({"REDIS_URL": self.redis_url} if self.redis_url else {}),
            **settings,
        }
        path = self.folder / f"{role}-{len(self.processes)}.log"
        with path.open("wb") as log:
            command = [sys.executable, "-m", "app", role]
            popen = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        process = Process(popen, path)
        self.processes.append(process)
        return process

    async def until_ready(self, port: int | None = None) -> None:
        url = f"http://127.0.0.1:{port or self.port}/readyz"
        deadline = time.monotonic() + _START_SECONDS
        async with httpx.AsyncClient(trust_env=False) as client:
            while time.monotonic() < deadline:
                try:
                    if (await client.get(url)).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)
        logs = [each.log.read_text()[-2000:] for each in self.processes if each.log]
        raise AssertionError("\n".join(["not ready:", *logs]))

    def end(self) -> None:
        for process in self.processes:
            if process.popen.poll() is None:
                process.send(signal.SIGCONT)
                process.kill()

    # ---- the shop

    async def furnish(self) -> None:
        """Seed products, dealers and a reseller with money."""
        pool = await open_pool(PoolSettings(self.dsn, max_size=2))
        sealer = Sealer([self.secret_key])
        await seed.seed_catalogue(pool, sealer, self.simulator_url, _DEALER_TIMEOUT_SECONDS)
        await seed.seed_reseller(pool, self.reseller_id, self.key)
        await pool.execute(
            "update dealers set options = $1::json, connect_timeout_seconds = 0.5",
            json.dumps({"absent_after_seconds": "1", "check_interval_seconds": "0.2"}),
        )
        await pool.close()

    async def register_receiver(self) -> None:
        async with self.client() as client:
            body = {"url": f"{self.receiver_url}/hooks"}
            created = await client.post("/v1/webhook-endpoints", json=body)
            assert created.status_code == 201, created.text
            secret = {"secret": created.json()["secret"]}
            await client.put(f"{self.receiver_url}/secret", json=secret)

    def client(self, port: int | None = None) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port or self.port}",
            headers={"authorization": f"Bearer {self.key.token}"},
            timeout=10,
            trust_env=False,
        )

    # ---- witnesses

    async def verdict(self, seconds: float = 60.0) -> "Verdict":
        """Wait until nothing is left to do, then ask every witness."""
        connection = await asyncpg.connect(self.dsn)
        deadline = time.monotonic() + seconds
        async with httpx.AsyncClient(trust_env=False) as client:
            while time.monotonic() < deadline:
                agenda = (await client.get(f"{self.simulator_url}/agenda")).json()
                left = await lives.unfinished(connection)
                if not agenda["pending"] and left.nothing:
                    break
                await asyncio.sleep(0.2)
            left = await lives.unfinished(connection)
            book = (await client.get(f"{self.simulator_url}/book")).json()
            received = (await client.get(f"{self.receiver_url}/received")).json()
        outcomes = await lives.outcomes(connection, self.lane, self.reseller_id, "")
        discrepancies = await statements.verify(connection)
        await connection.close()
        return Verdict(
            outcomes, book, received["verified"], received["refused"], discrepancies, left
        )


@dataclass
class Verdict:
    """What every witness says in the end."""

    outcomes: list[Outcome]
    book: list[dict[str, str | None]]
    verified: list[dict]
    refused: int
    discrepancies: Sequence[object]
    left: lives.Unfinished

    @cached_property
    def delivered(self) -> Counter:
        """Deliveries that stand, by dealer reference."""
        return Counter(row["dealer_ref"] for row in self.book if row["reversed_at"] is None)

    def assert_every_promise_kept(self, accepted: dict[str, str]) -> None:
        """Nothing lost, nothing bought twice, money exact, everything reported."""
        assert self.left.nothing, self.left
        assert self.discrepancies == []
        known = {each.ref_id: each for each in self.outcomes}
        assert set(accepted) <= set(known), "an accepted order is lost"
        assert all(str(known[ref].order_id) == accepted[ref] for ref in accepted)
        for each in self.outcomes:
            self._assert_settled(each)
        known_refs = {ref for each in self.outcomes for ref in each.dealer_refs}
        assert set(self.delivered) <= known_refs, "bought without an attempt on record"
        assert all(count == 1 for count in self.delivered.values()), "a dealer delivered one twice"
        assert self.refused == 0

    def _assert_settled(self, each: Outcome) -> None:
        assert each.status in {"succeeded", "failed", "reversed"}, each
        assert not each.in_review, each
        mine = [ref for ref in each.dealer_refs if ref not in each.disputed_refs]
        times = sum(self.delivered[ref] for ref in mine)
        assert times == (each.status == "succeeded") or (each.status == "succeeded" and times <= 1)
        assert each.charged == (each.price if each.status == "succeeded" else 0), each
        told = [item for item in self.verified if item["data"]["id"] == str(each.order_id)]
        assert len(told) == each.events, each
        newest = max(told, key=lambda item: item["data"]["version"])
        assert newest["data"]["status"] == each.status


def order(number: int, digits: int | None = None) -> dict[str, object]:
    """An order body; `digits` choose what the dealer does."""
    brand = seed.BRANDS[number % len(seed.BRANDS)]
    last = number % 100 if digits is None else digits
    return {
        "ref_id": f"order-{number:06d}",
        "sku": f"{brand.sku}10",
        "customer_number": f"{brand.number}{number:06d}{last:02d}",
    }


async def place(
    client: httpx.AsyncClient, body: dict[str, object], accepted: dict[str, str]
) -> None:
    """Send an order until it is accepted, whatever happens to the service in between."""
    for _ in range(400):
        try:
            answer = await client.post("/v1/orders", json=body)
        except httpx.TransportError:
            await asyncio.sleep(0.1)
            continue
        if answer.is_success:
            accepted[str(body["ref_id"])] = answer.json()["id"]
            return
        assert answer.status_code in {409, 429, 502, 503}, answer.text
        await asyncio.sleep(0.1)
    raise AssertionError(f"never accepted: {body}")


async def load(
    client: httpx.AsyncClient,
    bodies: Sequence[dict[str, object]],
    accepted: dict[str, str],
    pause_seconds: float = 0.02,
) -> None:
    """Send orders at a steady pace, each in its own task."""
    async with asyncio.TaskGroup() as group:
        for body in bodies:
            group.create_task(place(client, body, accepted))
            await asyncio.sleep(pause_seconds)
