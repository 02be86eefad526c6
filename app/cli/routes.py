"""`jalur routes`: the routing table changed (`table.py`), simulated and explained; its rules."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, cast
from uuid import UUID

import typer

from app.administration.explain import (
    STANDARD_TIER,
    Question,
    explain_choice,
    explain_order,
    find_order,
)
from app.administration.in_force import table_in_force
from app.cli.policy import policy_app
from app.cli.simulations import simulate_command
from app.cli.table import (
    apply_command,
    cancel_command,
    diff_command,
    export_command,
    read_moment,
    rollback_command,
    scheduled_command,
    versions_command,
)
from app.cli.terminal import Json, operator, print_json, show_table, tell, with_pool
from app.errors import ConfigurationError
from app.lifecycle.execute import Lease
from app.lifecycle.goods import newest_goods
from app.lifecycle.route import Router
from app.sealing import Sealer
from app.settings import read_settings
from app.storage.pool import Pool

_NUMBERS = ("cost", "rank", "before", "after")

routes_app = typer.Typer(help="The routing table.", no_args_is_help=True)

routes_app.command("export")(export_command)
routes_app.command("diff")(diff_command)
routes_app.command("simulate")(simulate_command)
routes_app.command("apply")(apply_command)
routes_app.command("scheduled")(scheduled_command)
routes_app.command("cancel")(cancel_command)
routes_app.command("versions")(versions_command)
routes_app.command("rollback")(rollback_command)
routes_app.add_typer(policy_app, name="policy")


@routes_app.command("status")
def status_command(as_json: Json = False) -> None:
    """Which table is in force, how large it is, and what was left out of it."""

    async def look(pool: Pool) -> dict[str, Any]:
        return table_in_force(await _router(pool), operator())

    told = asyncio.run(with_pool(look))
    lines = [
        f"Table {told['version']}, revision {told['revision']}: {told['routes']} routes of "
        f"{told['products']} products at {told['dealers']} dealers",
        *(f"left out: {fault}" for fault in told["left_out"]),
    ]
    tell(told, lines, as_json=as_json)


@routes_app.command("explain")
def explain_command(
    sku: Annotated[str | None, typer.Option(help="The product to think of.")] = None,
    number: Annotated[str | None, typer.Option(help="The customer's number.")] = None,
    region: Annotated[str | None, typer.Option(help="Where the outlet stands.")] = None,
    tier: Annotated[str, typer.Option(help="Whose price is paid.")] = STANDARD_TIER,
    max_price: Annotated[
        int | None, typer.Option(min=1, help="The most a dealer may cost, in rupiah.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(help="At this moment instead of now, in WIB unless it says otherwise."),
    ] = None,
    order: Annotated[
        str | None, typer.Option("--order", help="What this order keeps of its choices: its id.")
    ] = None,
    reseller: Annotated[
        str | None, typer.Option("--reseller", help="Whose; --order is then its own `ref_id`.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Which dealer would be chosen and why; or, with --order, was chosen for an order.

    Shares are read from the database. Breakers and quality are each process's own: to a running
    service's ask `POST /admin/v1/routes/explain`.
    """
    if (sku is None) == (order is None):
        raise ConfigurationError("name a product with --sku, or an order with --order")
    if reseller is not None and order is None:
        raise ConfigurationError("--reseller goes with --order")
    if order is not None:
        told = asyncio.run(with_pool(lambda pool: _explain_order(pool, order, reseller)))
        show = _show_order
    else:
        moment = None if at is None else read_moment(at)
        asked = Question(sku or "", number, region, tier, max_price, moment)
        told = asyncio.run(with_pool(lambda pool: _explain(pool, asked)))
        show = _show_choice
    if as_json:
        print_json(told)
    else:
        show(told)


async def _router(pool: Pool) -> Router:
    """A router with the table that is newest, compiled here if nobody has compiled it yet."""
    settings = read_settings()
    longest_call_seconds = Lease(settings.lease_seconds).longest_call_seconds
    router = Router(
        Sealer(settings.require_secret_keys()),
        time.monotonic,
        longest_call_seconds,
        simulator_url=settings.simulator_url,
    )
    await router.refresh(pool, newest_goods)
    return router


async def _explain(pool: Pool, asked: Question) -> dict[str, object]:
    router, now = await _router(pool), datetime.now(UTC)
    await router.rebuild_shares(pool, now)
    await router.rebuild_sales(pool, now)
    await router.exchange_refusals(pool, now)
    return explain_choice(router, operator(), asked, now)


async def _explain_order(pool: Pool, order: str, reseller: str | None) -> dict[str, object]:
    by = operator()
    if reseller is not None:
        return await explain_order(pool, by, await find_order(pool, by, reseller, order))
    try:
        order_id = UUID(order)
    except ValueError:
        raise ConfigurationError(
            f"{order} is no order's id; a reseller's reference needs --reseller"
        ) from None
    return await explain_order(pool, by, order_id)


# ------------------------------------------------------------------ telling


def _show_choice(told: dict[str, Any]) -> None:
    area = told["cluster"] or "no cluster"
    typer.echo(
        f"{told['sku']} ({told['brand']}, {area}), tier {told['tier']} at Rp {told['price']:,}"
    )
    rows = [
        (
            each["dealer"],
            f"{each['cost']:,}",
            str(each["rank"] or "-"),
            each["reason"] or "chosen",
            each["owner_group"],
            _percent(each["share_before_basis_points"]),
            _percent(each["share_after_basis_points"]),
        )
        for each in told["candidates"]
    ]
    show_table(("dealer", "cost", "rank", "reason", "group", "before", "after"), rows, _NUMBERS)
    typer.echo(told["verdict"])
    market = told["market"]
    typer.echo(
        f"Shares of {market['orders']:,} orders worth Rp {market['value']:,}, before this order "
        f"and after it, were that one chosen; table {told['table']}, revision {told['revision']}."
    )
    if told["at"] != told["shares_at"]:
        typer.echo(f"Hours, validity, mutes and quotas as of {told['at']}, shares as of now.")
    for fault in told["left_out"]:
        typer.echo(f"left out: {fault}")


def _show_order(told: dict[str, Any]) -> None:
    for attempt in cast("Sequence[dict[str, Any]]", told["attempts"]):
        decision = attempt["decision"]
        typer.echo(
            f"Attempt {attempt['attempt_no']} at {attempt['dealer']} is {attempt['state']}; chosen "
            f"from table {decision.get('table')}:"
        )
        rows = [
            (dealer, f"{cost:,}", str(rank or "-"), reason or "chosen")
            for dealer, cost, rank, reason in decision.get("candidates", [])
        ]
        show_table(("dealer", "cost", "rank", "reason"), rows, _NUMBERS)


def _percent(basis_points: int) -> str:
    return f"{basis_points / 100:.2f} %"
