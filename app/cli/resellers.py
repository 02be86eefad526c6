"""`jalur resellers`: who may order."""

import shlex
from typing import Annotated

import typer

from app.administration import resellers
from app.administration.resellers import Changed, Edit
from app.cli.terminal import Json, Reason, act, look, tell
from app.storage.api_keys import KeyRecord
from app.storage.resellers import Account, accounts
from schemas.admin.resellers import Reseller

resellers_app = typer.Typer(help="Resellers: who may order.", no_args_is_help=True)

Which = Annotated[str, typer.Argument(metavar="RESELLER", help="Its id or its name.")]


@resellers_app.command("add")
def add_command(
    name: Annotated[str, typer.Argument(help="What people call it; no two are called alike.")],
    tier: Annotated[str, typer.Option(help="Which prices it pays.")] = "standard",
    credit_limit: Annotated[
        int, typer.Option(help="How far below zero it may order, in rupiah.")
    ] = 0,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Add a reseller."""
    account = act(lambda pool, by: resellers.add(pool, by, name, tier, credit_limit, reason=reason))
    called = shlex.quote(account.name)
    lines = [
        f"{account.name} is {account.reseller_id}. "
        f"Next: jalur keys add {called}; jalur deposit {called} AMOUNT --reference REF"
    ]
    tell(Reseller.of(account), lines, as_json=as_json)


@resellers_app.command("list")
def list_command(as_json: Json = False) -> None:
    """All resellers, the oldest first."""
    found = look(accounts)
    lines = [_line(account) for account in found]
    empty = ["There are no resellers. Next: jalur resellers add NAME"]
    tell({"resellers": [Reseller.of(each) for each in found]}, lines or empty, as_json=as_json)


@resellers_app.command("show")
def show_command(reseller: Which, as_json: Json = False) -> None:
    """One reseller with its money."""
    account = look(lambda connection: resellers.find(connection, reseller))
    lines = [
        _line(account),
        f"available {account.available}, reserved {account.reserved}, "
        f"credit limit {account.credit_limit} rupiah; since {account.created_at:%Y-%m-%d}",
    ]
    tell(Reseller.of(account), lines, as_json=as_json)


@resellers_app.command("set")
def set_command(
    reseller: Which,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    tier: Annotated[str | None, typer.Option(help="Other prices.")] = None,
    credit_limit: Annotated[int | None, typer.Option(help="In rupiah.")] = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Change a reseller's name, tier or credit limit."""
    edit = Edit(name, tier, credit_limit)
    _tell(act(lambda pool, by: resellers.change(pool, by, reseller, edit, reason)), as_json=as_json)


Orders = Annotated[
    str | None, typer.Option(help="Orders, as 100/1s or 100/1s,50000/1d; usual: none of its own.")
]
Reads = Annotated[str | None, typer.Option(help="Everything else, in the same form.")]


@resellers_app.command("limit")
def limit_command(
    reseller: Which,
    orders: Orders = None,
    reads: Reads = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Set how much a reseller may ask over all its keys: so many at once, refilled evenly."""
    done = act(lambda pool, by: resellers.limit(pool, by, reseller, orders, reads, reason))
    _tell(done, as_json=as_json)


@resellers_app.command("suspend")
def suspend_command(reseller: Which, reason: Reason = "", as_json: Json = False) -> None:
    """Refuse a reseller's keys; its accepted orders are seen through."""
    _tell(act(lambda pool, by: resellers.suspend(pool, by, reseller, reason)), as_json=as_json)


@resellers_app.command("activate")
def activate_command(reseller: Which, reason: Reason = "", as_json: Json = False) -> None:
    """Take a suspended reseller's keys again."""
    _tell(act(lambda pool, by: resellers.activate(pool, by, reseller, reason)), as_json=as_json)


def _tell(done: Changed, *, as_json: bool) -> None:
    document = {**Reseller.of(done.account), "changed": done.changed}
    lines = [_line(done.account)] if done.changed else ["Nothing changed.", _line(done.account)]
    tell(document, lines, as_json=as_json)


def _line(account: Account) -> str:
    line = f"{account.reseller_id}  {account.name}: {account.status}, tier {account.tier}"
    return line + rates_of(account) + (", a test side" if account.test else "")


def rates_of(limited: Account | KeyRecord) -> str:
    """The own rates of a reseller or a key, for the end of its line."""
    own = (("orders", limited.orders_rate), ("reads", limited.reads_rate))
    return "".join(f", {name} {rate}" for name, rate in own if rate is not None)
