"""The schema: what is written down is what migrations make, and it refuses what must not be."""

import re
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

import app.storage.migrate
from app.embedded.postgres import RunningPostgres
from app.errors import DatabaseUnavailable
from app.storage.migrate import migrate, newest
from migrations.dump import SCHEMA, dump
from tests.storage_fixtures import fresh_database

RESELLER = "00000000-0000-7000-8000-000000000001"
ORDER = "00000000-0000-7000-8000-000000000002"
OTHER_ORDER = "00000000-0000-7000-8000-000000000003"


def entry(
    seq: int,
    kind: str,
    leg: str | None,
    deltas: tuple[int, int, int],
    order_id: str | None = ORDER,
    reference: str | None = None,
) -> str:
    """An entry as SQL: deltas of available, reserved and outside."""
    values = [seq, kind, order_id, leg, *deltas, 0, 0, reference]
    shown = ", ".join("null" if value is None else f"'{value}'" for value in values)
    return f"""
        insert into ledger_entries (lane, reseller_id, seq, kind, order_id, leg, available_delta,
                                    reserved_delta, outside_delta, available_after, reserved_after,
                                    reference)
        values (1, '{RESELLER}', {shown})
    """


def order(order_id: str = ORDER, price: int = 6000, status: str = "accepted") -> str:
    return f"""
        insert into orders (lane, order_id, reseller_id, ref_id, sku, brand, customer_number, price,
                            status, retry_until, created_at, decision)
        values (1, '{order_id}', '{RESELLER}', 'A1', 'S', 'tri', '0895', {price}, '{status}',
                now(), now(), '{{}}')
    """


def reference(order_id: str) -> str:
    return f"insert into order_references values (1, '{RESELLER}', 'A1', '{order_id}', '')"


def attempt(number: int = 1, dealer_ref: str = "R1", **values: str) -> str:
    given = {"cost": "5000", "max_price": "6000", "state": "'sent'", "claim_id": "null"} | values
    return f"""
        insert into attempts (lane, order_id, attempt_no, dealer_id, route_id, dealer_sku,
                              dealer_ref, asked_at, sent_at, {", ".join(given)})
        values (1, '{ORDER}', {number}, 'alfa', 'r', 's', '{dealer_ref}', now(), now(),
                {", ".join(given.values())})
    """


RESERVE = entry(1, "reserve", "reserve", (-5, 5, 0))
CAPTURE = entry(2, "capture", "resolve", (0, -5, 5))
DEPOSIT = entry(1, "deposit", None, (5, 0, -5), None, "slip")

REFUSED = {
    "an entry that does not sum to zero": [entry(1, "reserve", "reserve", (-5, 5, 1))],
    "a reserve that takes from outside": [entry(1, "reserve", "reserve", (0, 5, -5))],
    "a reserve of nothing": [entry(1, "reserve", "reserve", (0, 0, 0))],
    "a capture that pays back": [entry(1, "capture", "resolve", (5, -5, 0))],
    "a release that leaves": [entry(1, "release", "resolve", (0, -5, 5))],
    "a refund under the resolving leg": [entry(1, "refund", "resolve", (5, 0, -5))],
    "a correction that pays": [entry(1, "correction", "correction 1", (5, 0, -5))],
    "a deposit without its reference": [entry(1, "deposit", None, (5, 0, -5), None)],
    "a deposit that takes": [entry(1, "deposit", None, (-5, 0, 5), None, "slip")],
    "an entry of an unknown kind": [entry(1, "gift", None, (5, 0, -5), None, "slip")],
    "a leg without an order": [entry(1, "reserve", "reserve", (-5, 5, 0), None)],
    "a second reserve": [RESERVE, entry(2, "reserve", "reserve", (-5, 5, 0))],
    "a release after a capture": [CAPTURE, entry(3, "release", "resolve", (5, -5, 0))],
    "the same correction twice": [
        entry(1, "correction", "correction 1", (-5, 0, 5)),
        entry(2, "refund", "correction 1", (5, 0, -5)),
    ],
    "a sequence number drawn twice": [
        RESERVE,
        entry(1, "reserve", "reserve", (-5, 5, 0), OTHER_ORDER),
    ],
    "a deposit booked twice": [DEPOSIT, entry(2, "deposit", None, (5, 0, -5), None, "slip")],
    "an order without a price": [order(price=0)],
    "an order at a negative price": [order(price=-1)],
    "an order of an unknown status": [order(status="lost")],
    "a reference used twice": [reference(ORDER), reference(OTHER_ORDER)],
    "an attempt without a cost": [attempt(cost="0")],
    "an attempt dearer than its limit": [attempt(cost="6001")],
    "an attempt in an unknown state": [attempt(state="'lost'")],
    "a claim without a lease": [attempt(claim_id="gen_random_uuid()")],
    "an attempt made twice": [attempt(), attempt(dealer_ref="R2")],
    "a dealer reference used twice": [attempt(), attempt(2)],
    "a wallet that owes reservations": [
        f"insert into wallets (lane, reseller_id, reserved) values (1, '{RESELLER}', -1)"
    ],
    "a product price of nothing": [
        "insert into products (sku, name, brand, denomination) values ('S', 'n', 'tri', 1)",
        "insert into prices values ('standard', 'S', 0)",
    ],
    "a reseller outside the lanes": [
        f"insert into resellers (lane, reseller_id, name) values (64, '{RESELLER}', 'x')"
    ],
    "two ready rows of one order": [
        f"insert into ready values (1, '{ORDER}', {number}, 'alfa', now())" for number in (1, 2)
    ],
}


async def test_written_schema_is_what_migrations_make(database_dsn: str):
    assert SCHEMA.read_text() == dump(database_dsn), "run `make schema`"


async def test_migrating_again_does_nothing(database_dsn: str):
    migrated = await migrate(database_dsn)
    assert migrated.before == migrated.after == newest()


@pytest.fixture
def empty_dsn(postgres: RunningPostgres) -> Iterator[str]:
    """A database before its first migration."""
    with fresh_database(postgres.dsn, "template1") as dsn:
        yield dsn


async def test_migration_that_would_wait_for_long_changes_nothing(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(app.storage.migrate, "_LOCK_TIMEOUT", "set local lock_timeout = '50ms'")
    other = await asyncpg.connect(empty_dsn)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("create table webhook_endpoints ()")
    with pytest.raises(DatabaseUnavailable, match="nothing was changed"):
        await migrate(empty_dsn)
    await transaction.rollback()
    await other.close()
    assert (await migrate(empty_dsn)).before is None


@pytest.fixture(scope="module")
def one_dsn(postgres: RunningPostgres, migrated_template: str) -> Iterator[str]:
    """A database for all tests that leave nothing behind."""
    with fresh_database(postgres.dsn, migrated_template) as dsn:
        yield dsn


@pytest.fixture
async def service(one_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection under the service's role, undone afterwards."""
    connection = await asyncpg.connect(one_dsn, server_settings={"role": "jalur_service"})
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


@pytest.mark.parametrize("what", REFUSED)
async def test_schema_refuses(what: str, service: asyncpg.Connection):
    *allowed, refused = REFUSED[what]
    for statement in allowed:
        await service.execute(statement)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await service.execute(refused)


@pytest.mark.parametrize("table", ["ledger_entries", "events", "order_references"])
@pytest.mark.parametrize("change", ["update {} set lane = 2", "delete from {}", "truncate {}"])
async def test_service_may_not_rewrite_history(
    table: str, change: str, service: asyncpg.Connection
):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute(change.format(table))


@pytest.mark.parametrize("table", ["orders", "attempts", "wallets", "resellers", "callbacks"])
async def test_service_may_not_delete(table: str, service: asyncpg.Connection):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute(f"delete from {table}")


async def test_service_may_not_change_the_schema(service: asyncpg.Connection):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute("alter table ledger_entries disable trigger all")


def test_lane_is_in_every_key_of_a_resellers_tables():
    """What lets the tables be spread over machines by lane, unchanged."""
    schema = SCHEMA.read_text()
    laned = re.findall(r"CREATE TABLE public\.(\w+) \(\n    lane ", schema)
    keys = re.findall(
        r"ALTER TABLE ONLY public\.(\w+)\n    ADD CONSTRAINT \w+ (?:PRIMARY KEY|UNIQUE) \(([^)]+)",
        schema,
    )
    keys += re.findall(r"CREATE UNIQUE INDEX \w+ ON public\.(\w+) USING btree \(([^)]+)", schema)
    assert len(laned) > 10
    assert all("lane" in columns.split(", ") for table, columns in keys if table in laned)


def test_lane_leads_every_primary_key_and_one_order_is_found_by_no_other_index():
    """An index that shares only the lane with a key would be taken for it on an empty table."""
    schema = SCHEMA.read_text()
    primary = re.findall(r"public\.(\w+)\n    ADD CONSTRAINT \w+ PRIMARY KEY \((\w+)", schema)
    laned = re.findall(r"CREATE TABLE public\.(\w+) \(\n    lane ", schema)
    assert {column for table, column in primary if table in laned} == {"lane"}


def test_growing_tables_carry_no_foreign_keys_triggers_or_sequences():
    schema = SCHEMA.read_text()
    referring = set(re.findall(r"ONLY public\.(\w+)\n    ADD CONSTRAINT \w+ FOREIGN KEY", schema))
    assert referring <= {"prices", "routes"}
    triggered = set(re.findall(r"CREATE TRIGGER [^;]* ON public\.(\w+)", schema))
    assert triggered <= {"api_keys", "dealers", "doors", "operator_tokens", "resellers"}
    assert "SEQUENCE" not in schema
