"""Dealers: none that cannot be called gets into the table; what is stopped is not bought from."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.administration import dealers
from app.administration.dealers import Edit, callback_path
from app.administration.operator import Scope
from app.errors import Conflict, Forbidden, NotFound, Unprocessable
from app.lifecycle.route import Router
from app.lifecycle.trade import DealerLimits, open_credentials
from app.sealing import Sealer, generate_key
from app.storage.pool import Pool
from app.storage.reference import DealerRow
from dealers.registry import load
from routing.choose import Inquiry
from routing.reasons import Reason
from tests.administration.office import BY, LIMITS, acts, dealer, only, revision, whole_log
from tests.shops import ALFA, OTOMAX, PRICE, SKU, furnish

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MEMBER = {"memberID": "MEMBER-ONE", "pin": "PIN-ONE", "password": "PASSWORD-ONE"}
BUYER = {"username": "BUYER-TWO", "api_key": "KEY-TWO", "webhook_secret": "HOOK-TWO"}


async def found(pool: Pool, dealer_id: str = "nusantara") -> DealerRow:
    async with pool.acquire() as connection:
        return await dealers.find(connection, dealer_id)


async def reasons(pool: Pool, now: datetime) -> list[Reason | None]:
    """Why the only dealer of the shop may not serve, in a process that takes up the table now."""
    router = Router(LIMITS.sealer, lambda: 0.0, LIMITS.longest_call_seconds)
    await router.refresh(pool)
    return list(router.choose(Inquiry(SKU, "tri", None, PRICE), now).reasons)


async def test_an_added_dealer_can_be_called_and_its_secrets_are_sealed(pool: Pool):
    before = await revision(pool)
    row = await dealers.add(pool, BY, dealer(options={"check_interval_seconds": "2"}), LIMITS)
    assert await found(pool) == row
    assert open_credentials(row, LIMITS.sealer) == OTOMAX
    assert await revision(pool) == before + 1
    (act,) = await acts(pool)
    assert (act.action, act.subject, act.before) == ("dealer.added", "dealer:nusantara", None)
    assert act.after is not None
    assert act.after["credentials"] == ["memberID", "password", "pin"]
    assert callback_path(row) not in await whole_log(pool)


async def test_no_secret_of_a_dealer_is_ever_in_the_log(pool: Pool):
    row = await dealers.add(pool, BY, dealer(credentials=MEMBER), LIMITS)
    edit = Edit(credentials={"pin": "PIN-THREE"}, renew_callback_token=True)
    changed = (await dealers.change(pool, BY, "nusantara", edit, LIMITS)).dealer
    protocol = Edit(protocol="digiflazz", credentials=BUYER, replace_credentials=True)
    await dealers.change(pool, BY, "nusantara", protocol, LIMITS)
    await dealers.pause(pool, BY, "nusantara", "quiet")
    log = await whole_log(pool)
    for secret in (
        *MEMBER.values(),
        *BUYER.values(),
        "PIN-THREE",
        row.callback_token,
        changed.callback_token,
    ):
        assert secret is not None
        assert secret not in log
    assert row.callback_token != changed.callback_token
    told = (await acts(pool))[1]
    assert told.after == {"credentials": "renewed", "callback_token": "renewed"}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown protocol": ({"protocol": "telepathy"}, "no protocol is called telepathy"),
    "a missing credential": ({"credentials": {"memberID": "Y"}}, "credential pin is missing"),
    "an empty credential": ({"credentials": {**OTOMAX, "pin": ""}}, "credential pin is missing"),
    "time-outs beyond half of the lease": ({"timeout_seconds": 50.0}, "time-outs add up to 55 s"),
    "an address that is none": ({"base_url": "ftp://there"}, "base_url must begin with http"),
    "an option that is no number": (
        {"options": {"absent_after_seconds": "soon"}},
        "option absent_after_seconds must be a number",
    ),
    "a schedule of words": (
        {"options": {"check_schedule": "often"}},
        "option check_schedule must hold steps such as",
    ),
    "an option below nothing": (
        {"options": {"absent_after_seconds": "-1"}},
        "option absent_after_seconds must be a number",
    ),
    "an option that is not a number": (
        {"options": {"check_interval_seconds": "nan"}},
        "option check_interval_seconds must be a number",
    ),
    "a password in the address": ({"base_url": "http://u:p@there"}, "user or password"),
    "an id with capitals": ({"dealer_id": "Nusantara"}, "small letters"),
    "an id with NUL": ({"dealer_id": "a\0"}, "small letters"),
    "a name with NUL": ({"name": "N\0"}, "control characters"),
    "no places": ({"concurrency": 0}, "concurrency"),
    "a time-out of nothing": ({"timeout_seconds": 0.0}, "timeout_seconds"),
    "a time-out that is no number": ({"timeout_seconds": float("nan")}, "timeout_seconds"),
    "a credential with NUL": ({"credentials": {**OTOMAX, "pin": "1\0"}}, "credentials.pin"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_dealer_that_could_not_be_called_is_refused(pool: Pool, case: str):
    fields, told = REFUSED[case]
    published = await revision(pool)
    with pytest.raises(Unprocessable) as refused:
        await dealers.add(pool, BY, dealer(**fields), LIMITS)
    assert told in str(refused.value)
    async with pool.acquire() as connection:
        assert await connection.fetchval("select count(*) from dealers") == 0
    assert (await revision(pool), await acts(pool)) == (published, [])


async def test_a_change_that_would_drop_the_dealer_is_refused(pool: Pool):
    row = await dealers.add(pool, BY, dealer(), LIMITS)
    for edit in (
        Edit(credentials={"pin": ""}),
        Edit(protocol="digiflazz"),
        Edit(timeout_seconds=41.0),
        Edit(credentials={"memberID": "Y"}, replace_credentials=True),
    ):
        with pytest.raises(Unprocessable):
            await dealers.change(pool, BY, "nusantara", edit, LIMITS)
    assert await found(pool) == row
    assert len(await acts(pool)) == 1


async def test_credentials_and_options_are_merged_and_told_apart(pool: Pool):
    await dealers.add(
        pool,
        BY,
        dealer(options={"check_interval_seconds": "1", "absent_after_seconds": "2"}),
        LIMITS,
    )
    edit = Edit(
        credentials={"pin": "sesame-2"},
        options={"check_interval_seconds": "3", "absent_after_seconds": ""},
        timeout_seconds=30.1,
    )
    row = (await dealers.change(pool, BY, "nusantara", edit, LIMITS)).dealer
    assert open_credentials(row, LIMITS.sealer) == {**OTOMAX, "pin": "sesame-2"}
    assert json.loads(row.options) == {"check_interval_seconds": "3"}
    again = await dealers.change(pool, BY, "nusantara", edit, LIMITS)
    assert not again.changed
    assert len(await acts(pool)) == 2


async def test_nothing_is_sealed_under_a_key_that_is_not_the_shops(pool: Pool):
    await dealers.add(pool, BY, dealer(), LIMITS)
    foreign = DealerLimits(load(), Sealer([generate_key()]), 45.0)
    with pytest.raises(Conflict, match="JALUR_SECRET_KEY"):
        await dealers.add(pool, BY, dealer(dealer_id="cahaya"), foreign)
    with pytest.raises(Conflict, match="JALUR_SECRET_KEY"):
        await dealers.change(pool, BY, "nusantara", Edit(credentials={"pin": "1"}), foreign)
    # Where the shop's key is lost, everything anew is the way out.
    anew = Edit(credentials=OTOMAX, replace_credentials=True)
    row = (await dealers.change(pool, BY, "nusantara", anew, foreign)).dealer
    assert open_credentials(row, foreign.sealer) == OTOMAX


async def test_networks_of_callbacks_are_set_as_a_whole_and_recorded(pool: Pool):
    given = ["203.0.113.9", "203.0.113.0/28", "203.0.113.9/32", "2001:db8::/48"]
    row = await dealers.add(pool, BY, dealer(callback_from=given), LIMITS)
    networks = ("2001:db8::/48", "203.0.113.0/28", "203.0.113.9/32")
    assert row.callback_from == (await found(pool)).callback_from == networks
    kept = await dealers.change(pool, BY, "nusantara", Edit(name="N"), LIMITS)
    assert kept.dealer.callback_from == networks
    edit = Edit(callback_from=["198.51.100.1"])
    assert (await dealers.change(pool, BY, "nusantara", edit, LIMITS)).changed
    assert not (await dealers.change(pool, BY, "nusantara", edit, LIMITS)).changed
    anywhere = await dealers.change(pool, BY, "nusantara", Edit(callback_from=[]), LIMITS)
    assert anywhere.dealer.callback_from == (await found(pool)).callback_from == ()
    told = [act.after and act.after.get("callback_from") for act in await acts(pool)]
    assert told == [list(networks), None, ["198.51.100.1/32"], []]


@pytest.mark.parametrize(
    "network", ["", "elsewhere", "203.0.113.9/28", "0.0.0.0/0", "10.0.0.0/8", "::/0", "1.2.3"]
)
async def test_networks_that_vouch_for_nobody_are_refused(pool: Pool, network: str):
    with pytest.raises(Unprocessable, match="callback_from"):
        await dealers.add(pool, BY, dealer(callback_from=["203.0.113.9", network]), LIMITS)


async def test_a_second_dealer_of_one_id_is_refused(pool: Pool):
    await dealers.add(pool, BY, dealer(), LIMITS)
    with pytest.raises(Conflict) as refused:
        await dealers.add(pool, BY, dealer(name="Other"), LIMITS)
    assert refused.value.code == "dealer-exists"
    assert (await found(pool)).name == "Nusantara"


async def test_a_dealer_left_out_before_does_not_stop_work_on_another(
    pool: Pool, database_dsn: str
):
    await dealers.add(pool, BY, dealer(), LIMITS)
    await furnish(database_dsn, [ALFA])
    async with pool.acquire() as connection:
        await connection.execute("update dealers set protocol = 'gone' where dealer_id = 'alfa'")
    assert (await dealers.change(pool, BY, "nusantara", Edit(name="N"), LIMITS)).changed


async def test_a_paused_dealer_is_not_bought_from_until_it_is_resumed(
    pool: Pool, database_dsn: str
):
    await furnish(database_dsn, [ALFA])
    assert await reasons(pool, NOW) == [None]
    await dealers.pause(pool, BY, "alfa", "prices wrong")
    assert await reasons(pool, NOW) == [Reason.DEALER_DISABLED]
    await dealers.drain(pool, BY, "alfa", "leaving")
    await dealers.resume(pool, BY, "alfa", "back")
    assert await reasons(pool, NOW) == [None]
    told = [(act.action, act.before, act.after) for act in await acts(pool)]
    assert told == [
        ("dealer.paused", {"enabled": True}, {"enabled": False}),
        ("dealer.drained", {"drained": False}, {"drained": True}),
        (
            "dealer.resumed",
            {"enabled": False, "drained": True},
            {"enabled": True, "drained": False},
        ),
    ]


async def test_a_muted_dealer_is_bought_from_again_at_the_end_by_itself(
    pool: Pool, database_dsn: str
):
    await furnish(database_dsn, [ALFA])
    end = NOW + timedelta(minutes=30)
    await dealers.mute(pool, BY, "alfa", end, NOW, "slow")
    assert await reasons(pool, NOW) == [Reason.MUTED]
    assert await reasons(pool, end - timedelta(seconds=1)) == [Reason.MUTED]
    assert await reasons(pool, end) == [None]
    await dealers.unmute(pool, BY, "alfa")
    assert await reasons(pool, NOW) == [None]


@pytest.mark.parametrize(
    "until",
    [NOW, NOW - timedelta(days=1), NOW + timedelta(days=367), NOW.replace(tzinfo=None)],
    ids=["now", "past", "ages", "no-offset"],
)
async def test_a_mute_ends_at_a_moment_ahead(pool: Pool, until: datetime):
    await dealers.add(pool, BY, dealer(), LIMITS)
    with pytest.raises(Unprocessable, match="until"):
        await dealers.mute(pool, BY, "nusantara", until, NOW, "slow")


async def test_stopping_needs_a_reason_and_the_scope_and_a_dealer(pool: Pool):
    await dealers.add(pool, BY, dealer(), LIMITS)
    others = only(*(set(Scope) - {Scope.DEALERS}))
    for stop in (dealers.pause, dealers.drain, dealers.resume):
        with pytest.raises(Unprocessable, match="reason"):
            await stop(pool, BY, "nusantara", "")
        with pytest.raises(Forbidden):
            await stop(pool, others, "nusantara", "why")
        with pytest.raises(NotFound):
            await stop(pool, BY, "cahaya", "why")
    with pytest.raises(Forbidden):
        await dealers.add(pool, others, dealer(dealer_id="cahaya"), LIMITS)
    with pytest.raises(Forbidden):
        await dealers.change(pool, others, "nusantara", Edit(name="N"), LIMITS)
    assert len(await acts(pool)) == 1


def test_nothing_of_a_dealers_account_is_printed():
    shown = repr(dealer()) + repr(Edit(credentials=OTOMAX))
    assert not [secret for secret in OTOMAX.values() if secret in shown]
