"""A dealer's own price list, turned into a sheet of our routes there.

The list decides the cost and whether the product is offered. What it does not name stays as it is
and is told, as is what it names and we have no route for: adding and removing routes is for people.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from app.administration.acting import acting
from app.administration.dealers import find
from app.administration.operator import Operator, Scope
from app.administration.plans import Progress, Sheet, Wanted, unwatched
from app.administration.routes import Act, Applied
from app.administration.routes import apply as apply_sheet
from app.errors import ConfigurationError, Conflict, Unavailable
from app.lifecycle.sessions import NoSession, log_in
from app.lifecycle.trade import DealerAccess, DealerLimits, access_to
from app.outbound.client import OutboundClient, TransportFailure
from app.sealing import CannotOpen
from app.storage import price_rises, reference
from app.storage.pool import Pool
from app.storage.reference import RouteRow
from dealers.contract import Account, Answer, DealerPrice, Request, UnreadableAnswer
from routing.sheet import SheetRow, write_sheet

_MOST_ANSWER_BYTES = 32 * 1024 * 1024
_MOST_PAGES = 1_000
_MOST_TOLD = 100
_HTTP_OK = 200


@dataclass(frozen=True, slots=True)
class Pulled:
    """A dealer's list against our routes there."""

    dealer_id: str
    sheet: Sheet
    """Our routes there, with the list's costs."""
    revision: int
    """What the routes were read at."""
    listed: int
    """Products in the list."""
    unknown: list[str]
    """The dealer's names of products that we have no route for."""
    missing: list[str]
    """The dealer's names in our routes that the list has not."""
    unclear: list[str]
    """Named twice with different prices, or offered for none above 0: such routes stay as they are.
    What is not offered needs no price."""

    def document(self) -> dict[str, Any]:
        """For JSON; each list is cut, its length told."""
        told = {"unknown": self.unknown, "missing": self.missing, "unclear": self.unclear}
        return {
            "dealer": self.dealer_id,
            "listed": self.listed,
            **{f"{name}_count": len(names) for name, names in told.items()},
            **{name: names[:_MOST_TOLD] for name, names in told.items()},
        }


async def pull(
    pool: Pool, by: Operator, dealer_id: str, limits: DealerLimits, now: datetime
) -> Pulled:
    """Ask a dealer for its price list and set it against our routes there. Changes nothing.

    Raises NotFound, Conflict (`no-price-list`, `dealer-refused`), Unavailable.
    """
    by.require(Scope.ROUTES)
    async with pool.acquire() as connection:
        access = _access(await find(connection, dealer_id), limits)
        revision = await reference.revision(connection)
        routes = await reference.routes_of(connection, dealer_id)
    if access.dialect.price_list(access.account) is None:
        raise Conflict(
            "no-price-list",
            f"{dealer_id} speaks {access.row.protocol}, which has no price list: ask the dealer "
            f"for a file, then `jalur routes apply FILE --dealer {dealer_id}`.",
        )
    listed = await _listed(access)
    return _set_against(dealer_id, revision, routes, listed, now)


async def apply(
    pool: Pool,
    by: Operator,
    pulled: Pulled,
    wanted: Wanted,
    now: datetime,
    tell: Progress = unwatched,
) -> Applied:
    """Apply what was pulled, if the routes are still those that it was set against."""
    meant = Wanted(
        pulled.dealer_id,
        allow_rises=wanted.allow_rises,
        expected_revision=pulled.revision,
        reason=wanted.reason,
    )
    applied = await apply_sheet(pool, by, pulled.sheet, meant, now, tell, act=Act.PULLED)
    async with acting(pool) as connection:
        # The list is the dealer's newest word, also on prices that it left as they were.
        await price_rises.lift_dealer(connection, pulled.dealer_id)
    return applied


# ------------------------------------------------------------------ asking


def _access(row: reference.DealerRow, limits: DealerLimits) -> DealerAccess:
    try:
        return access_to(row, limits)
    except (ConfigurationError, CannotOpen) as error:
        raise Conflict(
            "dealer-refused", f"{row.dealer_id} cannot be called as it is configured: {error}"
        ) from None


async def _listed(access: DealerAccess) -> list[DealerPrice]:
    """The whole list, page by page, over connections of its own."""
    client = OutboundClient(
        max_in_flight=1, connect_timeout_seconds=access.row.connect_timeout_seconds
    )
    try:
        account = await _logged_in(access, client)
        listed: list[DealerPrice] = []
        request = access.dialect.price_list(account)
        for _ in range(_MOST_PAGES):
            if request is None:
                return listed
            answer = await _ask(access, client, request)
            listed += _read(access, answer)
            request = access.dialect.next_price_list(account, answer)
    finally:
        await client.close()
    raise Unavailable(
        "unreadable-price-list",
        f"{access.row.dealer_id}'s price list has more than {_MOST_PAGES} pages.",
    )


async def _logged_in(access: DealerAccess, client: OutboundClient) -> Account:
    """Our account, with a token of its own where the dealer wants one: lists are asked rarely."""
    if not access.dialect.logs_in:
        return access.account

    async def send(access: DealerAccess, request: Request) -> Answer:
        return await _ask(access, client, request, any_status=True)

    try:
        session = await log_in(access, send)
    except NoSession as refusal:
        raise Unavailable(
            "dealer-unreachable", f"{access.row.dealer_id} gives no session: {refusal}"
        ) from None
    return replace(access.account, session=session.token)


async def _ask(
    access: DealerAccess, client: OutboundClient, request: Request, *, any_status: bool = False
) -> Answer:
    try:
        answer = await client.call(
            request,
            timeout_seconds=access.row.timeout_seconds,
            max_answer_bytes=_MOST_ANSWER_BYTES,
        )
    except TransportFailure as failure:
        raise Unavailable(
            "dealer-unreachable", f"{access.row.dealer_id} did not answer: {failure}"
        ) from None
    if answer.status != _HTTP_OK and not any_status:
        raise Unavailable(
            "dealer-unreachable", f"{access.row.dealer_id} answered with HTTP {answer.status}."
        )
    return answer


def _read(access: DealerAccess, answer: Answer) -> list[DealerPrice]:
    try:
        return access.dialect.read_price_list(access.account, answer)
    except UnreadableAnswer as error:
        raise Unavailable(
            "unreadable-price-list", f"{access.row.dealer_id}'s price list cannot be read: {error}"
        ) from None


# ------------------------------------------------------------------ setting against


def _set_against(
    dealer_id: str,
    revision: int,
    routes: Sequence[RouteRow],
    listed: Iterable[DealerPrice],
    now: datetime,
) -> Pulled:
    by_sku, unclear = _by_sku(listed)
    ours = {row.dealer_sku for row in routes}
    rows = [_sheet_row(row, by_sku, now) for row in routes]
    names = by_sku.keys() | unclear
    return Pulled(
        dealer_id,
        Sheet(write_sheet(rows).encode()),
        revision,
        len(names),
        sorted(names - ours),
        sorted(ours - names),
        sorted(unclear & ours),
    )


def _by_sku(listed: Iterable[DealerPrice]) -> tuple[dict[str, DealerPrice], set[str]]:
    """The list by the dealer's names, and the names that it says no clear price of."""
    found: dict[str, DealerPrice] = {}
    unclear: set[str] = set()
    for each in listed:
        before = found.setdefault(each.dealer_sku, each)
        offer = (each.price_rupiah, each.available)
        if (each.available and each.price_rupiah <= 0) or offer != (
            before.price_rupiah,
            before.available,
        ):
            unclear.add(each.dealer_sku)
    return {name: price for name, price in found.items() if name not in unclear}, unclear


def _sheet_row(row: RouteRow, listed: Mapping[str, DealerPrice], now: datetime) -> SheetRow:
    price = listed.get(row.dealer_sku)
    # The list says what holds today: prices of another time are not its matter.
    starts, ends = row.valid_from, row.valid_until
    today = (starts is None or starts <= now) and (ends is None or now < ends)
    cost, enabled = row.cost, row.enabled
    if price is not None and today:
        enabled = price.available
        cost = price.price_rupiah if price.price_rupiah > 0 else cost
    return SheetRow(
        row.sku,
        row.cluster,
        row.dealer_id,
        row.dealer_sku,
        cost,
        enabled,
        row.hours,
        row.valid_from,
        row.valid_until,
        row.daily_quota,
        row.repeat_limit,
        row.weight,
    )
