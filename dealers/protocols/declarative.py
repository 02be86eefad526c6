"""Any dealer that is described by data: the document in the account's option `description`.

What the description says is compiled in `dealers.declarative`, once for each text; here it only
meets the contract. `docs/describing-a-dealer.md` tells how to write one.
"""

from typing import TYPE_CHECKING, Final

from dealers.contract import (
    Account,
    Answer,
    Balance,
    Callback,
    CallbackReport,
    Capabilities,
    DealerPrice,
    Recovery,
    Report,
    Request,
    Setting,
    TopUp,
    UnreadableAnswer,
)
from dealers.declarative.faults import DescriptionRefused
from dealers.declarative.loading import compile_description

if TYPE_CHECKING:
    from dealers.declarative.compiled import Compiled

CAPABILITIES: Final = Capabilities(recovery=Recovery.STATUS_CALL)
"""Of no account: each has its own (`capabilities_of`)."""
CREDENTIALS: Final = ()
OPTIONS: Final = (Setting("description", "the description's JSON text"),)


def settings_of(account: Account) -> tuple[tuple[Setting, ...], tuple[Setting, ...]] | None:
    """The credentials and the options that the description asks for; None while it is refused."""
    if validate(account, alone=True):
        return None
    compiled = _compiled(account)
    return compiled.credentials, (*OPTIONS, *compiled.options)


def capabilities_of(account: Account) -> Capabilities:
    """What the description says that the dealer can do."""
    return _compiled(account).capabilities


def validate(account: Account, *, alone: bool = False) -> list[str]:
    """What is wrong in the description or, unless `alone`, keeps this account from using it."""
    try:
        compiled = _compiled(account)
    except DescriptionRefused as refusal:
        return [f"description: {fault}" for fault in refusal.faults]
    return [] if alone else compiled.try_out(account)


def top_up(account: Account, order: TopUp) -> Request:
    """The described purchase."""
    return _compiled(account).request("purchase", account, order)


def read_top_up(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the answer by the purchase's meanings."""
    return _compiled(account).purchase.read(order, answer)


def status(account: Account, order: TopUp) -> Request:
    """The described check; the purchase itself where that is the check."""
    compiled = _compiled(account)
    kind = {
        Recovery.STATUS_CALL: "status",
        Recovery.SAME_REF_IS_STATUS: "purchase",
    }.get(compiled.capabilities.recovery)
    if kind is None:
        raise LookupError("this dealer cannot be asked")
    request = compiled.request(kind, account, order)
    if kind == "status" and request == compiled.request("purchase", account, order):
        # What tells them apart came out empty, and the question would buy.
        raise LookupError("the question is the purchase")
    return request


def read_status(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the answer by the check's meanings."""
    reader = _compiled(account).status
    if reader is None:
        raise LookupError("this dealer cannot be asked")
    return reader.read(order, answer)


def read_callback(account: Account, callback: Callback) -> CallbackReport:
    """Read a callback as described. Raises `CallbackRefused`."""
    return _compiled(account).read_callback(account, callback)


def acknowledge(account: Account, callback: Callback) -> tuple[str, bytes]:
    """The described acknowledgement."""
    return _compiled(account).acknowledge(account, callback)


def balance(account: Account) -> Request | None:
    """The described balance request, where there is one."""
    compiled = _compiled(account)
    return compiled.request("balance", account) if compiled.balance is not None else None


def read_balance(account: Account, answer: Answer) -> Balance:
    """Read the balance. Raises `UnreadableAnswer`."""
    reader = _compiled(account).balance
    if reader is None:
        raise UnreadableAnswer("the description has no balance")
    return reader.read(answer)


def price_list(account: Account) -> Request | None:
    """The described price list request, where there is one."""
    compiled = _compiled(account)
    return compiled.request("prices", account) if compiled.prices is not None else None


def read_price_list(account: Account, answer: Answer) -> list[DealerPrice]:
    """Read the price list. Raises `UnreadableAnswer`."""
    reader = _compiled(account).prices
    if reader is None:
        raise UnreadableAnswer("the description has no price list")
    return reader.read(answer)


def _compiled(account: Account) -> "Compiled":
    return compile_description(account.options["description"])
