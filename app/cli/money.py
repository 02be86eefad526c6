"""`jalur deposit` and `jalur adjust`: money booked by hand, once a reference."""

from typing import Annotated

import typer

from app.administration import documents, money
from app.administration.money import Receipt
from app.cli.resellers import Which
from app.cli.terminal import Json, Reason, act, tell
from app.errors import ConfigurationError

Reference = Annotated[
    str, typer.Option(help="The bank's or your own; it is booked once a reseller.")
]


def deposit_command(
    reseller: Which,
    amount: Annotated[int, typer.Argument(help="In rupiah, digits only.")],
    reference: Reference,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Book money paid in; the same reference and amount again change nothing."""
    receipt = act(lambda pool, by: money.deposit(pool, by, reseller, amount, reference, reason))
    _tell(receipt, as_json=as_json)


def adjust_command(
    reseller: Which,
    reference: Reference,
    add: Annotated[int, typer.Option(help="Rupiah to add.")] = 0,
    take: Annotated[int, typer.Option(help="Rupiah to take, past the credit limit too.")] = 0,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Put right what was booked wrongly."""
    if (add > 0) == (take > 0) or min(add, take) < 0:
        raise ConfigurationError("give either --add RUPIAH or --take RUPIAH, more than 0")
    receipt = act(lambda pool, by: money.adjust(pool, by, reseller, add - take, reference, reason))
    _tell(receipt, as_json=as_json)


def _tell(receipt: Receipt, *, as_json: bool) -> None:
    told = "was booked before; nothing was changed" if receipt.repeated else "is booked"
    line = (
        f"{receipt.amount} rupiah for {receipt.account.name} under {receipt.reference} {told}. "
        f"Available: {receipt.available}"
    )
    tell(documents.booking(receipt), [line], as_json=as_json)
