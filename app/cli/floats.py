"""`jalur dealers float` and what belongs to it, `jalur prices risen`: our money at dealers."""

from typing import Annotated

import typer

from app.administration import floats
from app.administration.floats import Float
from app.cli.dealers import DealerId
from app.cli.table import in_wib
from app.cli.terminal import Json, Reason, act, show_table, tell
from app.storage.price_rises import Risen

_HEADS = (
    "dealer",
    "balance",
    "told at",
    "paid in",
    "spent since",
    "in flight",
    "expected now",
    "difference",
    "an hour",
    "lasts",
)
_NUMBERS = frozenset(_HEADS) - {"dealer", "told at"}

Rupiah = Annotated[int, typer.Argument(metavar="RUPIAH", help="Digits only.")]


def float_command(
    dealer: Annotated[
        str | None, typer.Argument(metavar="[DEALER]", help="Its id; else every dealer.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What is left of our money at dealers, and how long it lasts at yesterday's pace."""
    found = act(lambda pool, by: floats.look(pool, by, dealer))
    if as_json:
        tell({"floats": [each.document() for each in found]}, [], as_json=True)
        return
    show_table(_HEADS, [_cells(each) for each in found], _NUMBERS)
    for each in found:
        for line in _remarks(each):
            typer.echo(f"{each.dealer_id}: {line}")


def deposit_command(
    dealer: DealerId,
    amount: Rupiah,
    reference: Annotated[
        str, typer.Option(help="The bank's or your own; it is written down once a dealer.")
    ],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Write down what you paid in at a dealer; its balance is pulled at once."""
    done = act(lambda pool, by: floats.deposit(pool, by, dealer, amount, reference, reason))
    told = "was written down before; nothing was changed" if done.repeated else "is written down"
    document = {
        "dealer": dealer,
        "amount": amount,
        "reference": reference,
        "repeated": done.repeated,
    }
    tell(document, [f"{amount} rupiah at {dealer} under {reference} {told}."], as_json=as_json)


def balance_command(
    dealer: DealerId,
    balance: Rupiah,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Write down the balance that a dealer's own page shows now, where its protocol has none."""
    done = act(lambda pool, by: floats.record(pool, by, dealer, balance, reason))
    document = {
        "dealer": dealer,
        "balance": balance,
        "difference": done.difference,
        "agrees": done.agrees,
    }
    told = "agrees with our own account" if done.agrees else f"differs by {done.difference:+d}"
    tell(document, [f"{balance} rupiah at {dealer} {told}."], as_json=as_json)


def accept_command(dealer: DealerId, reason: Reason = "", as_json: Json = False) -> None:
    """Take a dealer's last balance for right: the difference is given up."""
    difference = act(lambda pool, by: floats.accept(pool, by, dealer, reason))
    lines = [f"{dealer}'s balance is taken for right; {difference:+d} rupiah are given up."]
    tell({"dealer": dealer, "difference": difference}, lines, as_json=as_json)


def risen_command(as_json: Json = False) -> None:
    """Routes whose dealer charged more than their cost; they are not bought from meanwhile."""
    found = act(floats.list_rises)
    shown = {"price_rises": [floats.rise_document(each) for each in found]}
    tell(shown, [_line(each) for each in found] or ["No price rose."], as_json=as_json)


def lift_command(
    route: Annotated[str, typer.Argument(metavar="ROUTE", help="As `prices risen` shows it.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Buy from a route again whose price rose, its cost as it is."""
    done = act(lambda pool, by: floats.lift(pool, by, route, reason))
    lines = [f"{route} is bought from again at a cost of {done.cost}; {done.charged} was charged."]
    tell(floats.rise_document(done), lines, as_json=as_json)


def _cells(each: Float) -> list[str]:
    return [
        each.dealer_id,
        _amount(each.balance),
        "never" if each.told_at is None else in_wib(each.told_at),
        _amount(each.paid_in),
        _amount(each.spent),
        _amount(each.in_flight),
        _amount(each.expected),
        "-" if each.difference is None else f"{each.difference:+,}" if each.difference else "0",
        _amount(each.spent_per_hour),
        _lasts(each),
    ]


def _lasts(each: Float) -> str:
    if each.expected is None or not each.spent_per_hour:
        return "-"
    return "over a week" if each.runway_hours is None else f"{each.runway_hours:g} h"


def _amount(rupiah: int | None) -> str:
    return "-" if rupiah is None else f"{rupiah:,}"


def _remarks(each: Float) -> list[str]:
    lines: list[str] = []
    if not each.agrees and each.difference is not None:
        what = "is missing" if each.difference < 0 else "is there that nobody wrote down"
        lines.append(
            f"{abs(each.difference):,} rupiah {what}. Next: jalur reconcile {each.dealer_id} FILE, "
            f"jalur dealers deposit, or jalur dealers accept-balance {each.dealer_id}"
        )
    if each.refused:
        lines.append("it said that our money does not suffice; not bought from until a balance")
    if each.last_failure is not None:
        lines.append(f"no balance, {each.failures} times in a row: {each.last_failure}")
    return lines


def _line(risen: Risen) -> str:
    until = f"muted until {in_wib(risen.muted_until)}" if risen.stands else "not muted"
    return (
        f"{risen.route_id}: {risen.dealer_sku} at {risen.dealer_id} charged {risen.charged}, cost "
        f"{risen.cost}, {risen.purchases} purchases, the last {in_wib(risen.last_seen_at)}; {until}"
    )
