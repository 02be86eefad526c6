"""Outlets: in which region each of a reseller's outlets stands.

An order that names an outlet and no region lies in the cluster of the outlet's region. An outlet
that is not listed here may be named all the same; it says nothing. Resellers administer their
outlets over the API too, and there they block them; what is done here leaves blocks alone.
"""

from collections.abc import Sequence

from app.administration.acting import acting
from app.administration.catalogue import Cells, Tally
from app.administration.checks import Checks
from app.administration.operator import Operator, Scope
from app.administration.resellers import find
from app.administration.sheets import Placed
from app.errors import NotFound
from app.storage import catalogue, reference
from app.storage import outlets as stored
from app.storage.pool import Connection, Pool
from app.storage.resellers import Account

OUTLET_COLUMNS = ("outlet_id", "region")
_LONGEST = 64

Outlet = tuple[str, str]
"""An outlet's id, as its reseller orders with it, and its region."""


async def put(
    pool: Pool, by: Operator, reseller: str, outlets: Sequence[Placed[Outlet]], reason: str = ""
) -> Tally:
    """Add or replace a reseller's outlets; others stay.

    Raises NotFound, Conflict, Unprocessable.
    """
    by.require(Scope.RESELLERS)
    checks = Checks()
    checks.reason(reason)
    first: dict[str, str] = {}
    for each in outlets:
        checks.text(f"{each.place}.outlet_id", each.row[0], _LONGEST)
        before = first.setdefault(each.row[0], each.place)
        if before != each.place:
            checks.wrong(each.place, f"{each.row[0]} is in {before} already")
    checks.done()
    async with acting(pool) as connection:
        account = await find(connection, reseller)
        await catalogue.lock(connection)
        known = {region for region, _ in await reference.regions(connection)}
        for each in outlets:
            if each.row[1] not in known:
                sentence = f"there is no region {each.row[1]}; `jalur regions list` has all"
                checks.wrong(f"{each.place}.region", sentence)
        checks.done()
        stood = dict(await stored.regions_of(connection, account.lane, account.reseller_id))
        news = {
            each.row[0]: each.row[1] for each in outlets if stood.get(each.row[0]) != each.row[1]
        }
        if news:
            await stored.put_regions(
                connection, account.lane, account.reseller_id, list(news.items())
            )
            was = {outlet_id: stood[outlet_id] for outlet_id in news if outlet_id in stood}
            await _record(connection, by, "outlets.put", account, was, news, reason)
    return Tally(len(outlets), len(news))


async def remove(pool: Pool, by: Operator, reseller: str, outlet_id: str, reason: str = "") -> None:
    """Forget where an outlet stands; a block stays. Raises NotFound."""
    by.require(Scope.RESELLERS)
    checks = Checks()
    checks.reason(reason)
    checks.text("outlet_id", outlet_id, _LONGEST)
    checks.done()
    async with acting(pool) as connection:
        account = await find(connection, reseller)
        await catalogue.lock(connection)
        stood = await stored.find(connection, account.lane, account.reseller_id, outlet_id)
        if stood is None or stood.region is None:
            raise NotFound("not-found", f"{account.name} has no outlet {outlet_id} here.")
        await stored.forget_region(connection, account.lane, account.reseller_id, outlet_id)
        was = {outlet_id: stood.region}
        await _record(connection, by, "outlet.removed", account, was, {}, reason)


async def listed(
    connection: Connection, reseller: str, after: str = "", most: int | None = None
) -> list[Outlet]:
    """A reseller's outlets behind an id, by id. Raises NotFound, Conflict."""
    account = await find(connection, reseller)
    return await stored.regions_of(connection, account.lane, account.reseller_id, after, most)


def outlet_of(cells: Cells, _place: str, _checks: Checks) -> Outlet:
    """An outlet out of a sheet."""
    return cells["outlet_id"], cells["region"]


async def _record(
    connection: Connection,
    by: Operator,
    action: str,
    account: Account,
    before: dict[str, str],
    after: dict[str, str],
    reason: str,
) -> None:
    subject = f"reseller:{account.reseller_id}"
    await by.record(connection, action, subject, before=before, after=after, reason=reason)
