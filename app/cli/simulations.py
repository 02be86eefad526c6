"""`jalur routes simulate`: past orders on a draft of the routing table, told in columns."""

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from app.administration.plans import Sheet, Wanted
from app.administration.simulate import DEFAULT_SINCE, Simulation, simulate, window_of
from app.cli.table import DealerPart, ExpectRevision, FormOption, carry_out, in_wib, read_sheet
from app.cli.terminal import Json, operator, print_json
from app.errors import ConfigurationError
from routing.sheet import Form

_MOST_SHOWN = 5
_WIDTH = 120
"""For files and pipes; a terminal knows its own."""
_COLUMNS = {
    "happened": "happened",
    "in_force": "table in force",
    "draft": "draft",
}
_Column = dict[str, Any]

Since = Annotated[
    str, typer.Option(help="So long ago, such as 90m, 24h or 7d; or a moment, in WIB.")
]
Until = Annotated[str | None, typer.Option(help="Likewise; else now.")]


def simulate_command(
    file: Annotated[
        Path | None,
        typer.Argument(help="The draft: CSV or JSON in UTF-8, or - for the input."),
    ] = None,
    since: Since = DEFAULT_SINCE,
    until: Until = None,
    dealer: DealerPart = None,
    form: FormOption = None,
    expect_revision: ExpectRevision = None,
    as_json: Json = False,
) -> None:
    """Replay past orders on the draft and on the table in force; changes nothing.

    Without a file on the table in force alone. Status 1: lines of the file are refused.
    """
    now = datetime.now(UTC)
    window = window_of(since, until, now)
    sheet = _draft(file, dealer, form)
    wanted = Wanted(dealer, allow_empty=True, expected_revision=expect_revision)
    simulation = carry_out(
        lambda pool, watch: simulate(pool, operator(), sheet, wanted, window, now, watch),
        None,
        as_json=as_json,
    )
    if as_json:
        print_json(simulation.document())
    else:
        _tell(simulation)


def _draft(file: Path | None, dealer: str | None, form: Form | None) -> Sheet | None:
    if file is not None:
        return read_sheet(file, form)
    if dealer is not None or form is not None:
        raise ConfigurationError("--dealer and --format say how a file is meant: name it")
    return None


# ------------------------------------------------------------------ telling


def _tell(simulation: Simulation) -> None:
    told = simulation.document()
    window, orders = simulation.window, told["orders"]
    typer.echo(
        f"Replayed {orders['replayed']:,} orders from {in_wib(window.since)} to "
        f"{in_wib(window.until)}. Left out: {orders['failed']:,} failed, "
        f"{orders['reversed']:,} reversed, {orders['waiting']:,} waiting for a purchase."
    )
    if not orders["replayed"]:
        return
    names = [name for name in _COLUMNS if told[name] is not None]
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    for table in (
        _table("All orders", names, _sums([told[name] for name in names])),
        _table("Dealers: orders · rupiah · share", names, _dealers([told[name] for name in names])),
        _table("Markets: HHI · largest owner group", names, _markets(told, names)),
    ):
        console.print(table)
    for line in _sentences(told, names):
        typer.echo(line)


def _table(title: str, names: Sequence[str], rows: Iterator[Sequence[str]]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_style="bold", title_justify="left"
    )
    table.add_column()
    for name in names:
        table.add_column(_COLUMNS[name], justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _sums(columns: Sequence[_Column]) -> Iterator[Sequence[str]]:
    for what, name in (
        ("orders served", "orders"),
        ("forced monopolies", "forced_monopolies"),
        ("orders moved to another dealer", "moved"),
        ("price, rupiah", "price"),
        ("cost, rupiah", "cost"),
        ("margin, rupiah", "margin"),
        ("cost of avoiding monopolies, rupiah", "monopoly_cost"),
        ("HHI", "hhi"),
        ("markets above the alarm", "markets_above_alarm"),
    ):
        yield what, *(f"{each[name]:,}" if name in each else "" for each in columns)
    without = (each.get("without_route") for each in columns)
    yield "orders without a route", *(f"{each['orders']:,}" if each else "" for each in without)


def _dealers(columns: Sequence[_Column]) -> Iterator[Sequence[str]]:
    by_id = [{each["dealer"]: each for each in column["dealers"]} for column in columns]
    for dealer_id in dict.fromkeys(dealer_id for found in by_id for dealer_id in found):
        yield dealer_id, *(_dealer(found.get(dealer_id)) for found in by_id)


def _dealer(held: _Column | None) -> str:
    if held is None:
        return ""
    return f"{held['orders']:,} · {held['value']:,} · {_percent(held)}"


def _markets(told: _Column, names: Sequence[str]) -> Iterator[Sequence[str]]:
    for market in told["markets"]:
        place = f"{market['brand']}, {market['cluster'] or 'no cluster'}"
        yield place, *(_market(market[name]) for name in names)
    more = told["market_count"] - len(told["markets"])
    if more:
        yield f"and {more:,} more", *("" for _ in names)


def _market(market: _Column) -> str:
    if not market["groups"]:
        return ""
    largest = market["groups"][0]
    return f"{market['hhi']:,} · {largest['owner_group']} {_percent(largest)}"


def _percent(held: _Column) -> str:
    return f"{held['share_basis_points'] / 100:.2f} %"


def _sentences(told: _Column, names: Sequence[str]) -> Iterator[str]:
    for name in names[1:]:
        column = told[name]
        yield (
            f"The {_COLUMNS[name]}: {column['cost_difference']:+,} rupiah of cost on the orders "
            f"that it serves, {column['margin_difference']:+,} of margin in all, beside what "
            "happened."
        )
        if column["without_route"]["orders"]:
            yield _without_route(column["without_route"])
    if told["draft"] is not None:
        cost = told["draft"]["cost"] - told["in_force"]["cost"]
        margin = told["draft"]["margin"] - told["in_force"]["margin"]
        yield f"Draft against table in force: {cost:+,} rupiah of cost, {margin:+,} of margin."
    yield (
        f"{told['seconds']:.1f} s, {told['orders_per_second']:,} orders a second; choosing alone "
        f"{told['choices_per_second']:,} choices a second."
    )


def _without_route(refused: _Column) -> str:
    reasons = [f"{reason} {count:,}" for reason, count in refused["reasons"].items()]
    if refused["without_offer"]:
        reasons.append(f"not in the table {refused['without_offer']:,}")
    skus = list(refused["skus"].items())[:_MOST_SHOWN]
    return (
        f"  {refused['orders']:,} orders without a route ({', '.join(reasons)}), most of them of "
        + ", ".join(f"{sku} {count:,}" for sku, count in skus)
    )
