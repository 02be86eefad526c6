"""IAK's prepaid API as its buyers see it: JSON over POST, a code `rc` beside every status.

A purchase is always answered with PROCESS, whatever becomes of it; `check-status` tells, and so
does the same `ref_id` sent again. Failures leave with HTTP 400, everything else with 200.
"""

import hmac
from collections.abc import Callable, Mapping
from hashlib import md5
from types import MappingProxyType
from typing import Any, cast

import orjson

from dealers.simulator.behaviour import Reason, State
from dealers.simulator.book import Purchase
from dealers.simulator.config import Dealer
from dealers.simulator.dialect import NO_SUCH_PAGE, Ask, Incoming, Outgoing, Reply

CREDENTIALS = ("username", "api_key")
OPTIONAL_CREDENTIALS = ()

_JSON = b"application/json"
_PROCESS = "39"
_NOT_FOUND = "06"

_CODES: Mapping[State | Reason, str] = MappingProxyType(
    {
        State.SUCCEEDED: "00",
        State.PENDING: _PROCESS,
        # IAK has no word for a refund: such a transaction has failed.
        State.REFUNDED: "07",
        Reason.BAD_REQUEST: "107",
        Reason.WRONG_SIGNATURE: "204",
        Reason.UNKNOWN_PRODUCT: "20",
        Reason.STOCK: "106",
        Reason.PRICE: "106",
        Reason.WRONG_NUMBER: "14",
        Reason.DISRUPTED: "07",
    }
)

_MESSAGES = MappingProxyType(
    {
        "00": "SUCCESS",
        _NOT_FOUND: "TRANSACTION NOT FOUND",
        "07": "FAILED",
        "14": "INCORRECT DESTINATION NUMBER",
        "20": "CODE NOT FOUND",
        _PROCESS: "PROCESS",
        "106": "PRODUCT IS TEMPORARILY OUT OF SERVICE",
        "107": "ERROR IN XML FORMAT",
        "204": "WRONG AUTHENTICATION",
    }
)


def read(dealer: Dealer, incoming: Incoming, balance_rupiah: int) -> Ask | Reply:
    """Read a request to `/top-up`, `/check-status`, `/check-balance` or `/pricelist`."""
    page = _PAGES.get(incoming.action.removeprefix("api/"))
    if page is None or incoming.method != "POST":
        return NO_SUCH_PAGE
    try:
        fields: object = orjson.loads(incoming.body)
    except orjson.JSONDecodeError:
        return _error(Reason.BAD_REQUEST)
    if not isinstance(fields, dict):
        return _error(Reason.BAD_REQUEST)
    return page(dealer, cast(dict[str, Any], fields), balance_rupiah)


def refuse(dealer: Dealer, ask: Ask, reason: Reason, balance_rupiah: int) -> Reply:
    """A failure without a transaction number: nothing was stored."""
    return _about(dealer, ask, _CODES[reason], balance_rupiah)


def confirm(dealer: Dealer, purchase: Purchase, balance_rupiah: int) -> Reply:
    """PROCESS, for the first time always."""
    return _reply(_data(purchase, _PROCESS, balance_rupiah) | {"tr_id": purchase.number})


def recall(dealer: Dealer, ask: Ask, purchase: Purchase | None, balance_rupiah: int) -> Reply:
    """The stored state, asked for in either way."""
    if purchase is None or purchase.state is State.LOST:
        return _about(dealer, ask, _NOT_FOUND, balance_rupiah)
    code = _code(purchase, purchase.state)
    return _reply(_data(purchase, code, balance_rupiah) | {"tr_id": purchase.number})


def callback(dealer: Dealer, purchase: Purchase, claim: State, balance_rupiah: int) -> Outgoing:
    """The state with every amount as text, and a signature over the reference alone."""
    data = _data(purchase, _code(purchase, claim), balance_rupiah) | {"tr_id": purchase.number}
    texts = {name: str(value) for name, value in data.items()}
    body = orjson.dumps({"data": texts | {"sign": _signature(dealer, purchase.dealer_ref)}})
    return Outgoing("POST", purchase.callback_url, {"Content-Type": "application/json"}, body)


def _top_up(dealer: Dealer, fields: dict[str, Any], balance_rupiah: int) -> Ask | Reply:
    ask = Ask(
        dealer_ref=str(fields.get("ref_id", "")),
        sku=str(fields.get("product_code", "")),
        customer_number=str(fields.get("customer_id", "")),
    )
    if not (ask.dealer_ref and ask.sku and ask.customer_number):
        return refuse(dealer, ask, Reason.BAD_REQUEST, balance_rupiah)
    return _if_signed(dealer, fields, ask, balance_rupiah)


def _check_status(dealer: Dealer, fields: dict[str, Any], balance_rupiah: int) -> Ask | Reply:
    ask = Ask(str(fields.get("ref_id", "")), sku="", customer_number="", only_status=True)
    if not ask.dealer_ref:
        return refuse(dealer, ask, Reason.BAD_REQUEST, balance_rupiah)
    return _if_signed(dealer, fields, ask, balance_rupiah)


def _if_signed(
    dealer: Dealer, fields: Mapping[str, Any], ask: Ask, balance_rupiah: int
) -> Ask | Reply:
    if not _is_signed(dealer, fields, ask.dealer_ref):
        return refuse(dealer, ask, Reason.WRONG_SIGNATURE, balance_rupiah)
    return ask


def _balance(dealer: Dealer, fields: dict[str, Any], balance_rupiah: int) -> Reply:
    if not _is_signed(dealer, fields, "bl"):
        return _error(Reason.WRONG_SIGNATURE)
    return _reply({"balance": balance_rupiah, "message": "SUCCESS", "rc": "00"})


def _price_list(dealer: Dealer, fields: dict[str, Any], balance_rupiah: int) -> Reply:
    if not _is_signed(dealer, fields, "pl"):
        return _error(Reason.WRONG_SIGNATURE)
    offers = [_offer(dealer, sku, price) for sku, price in dealer.prices.items()]
    return _reply({"pricelist": offers, "message": "SUCCESS", "rc": "00"})


_PAGES: Mapping[str, Callable[[Dealer, dict[str, Any], int], Ask | Reply]] = MappingProxyType(
    {
        "top-up": _top_up,
        "check-status": _check_status,
        "check-balance": _balance,
        "pricelist": _price_list,
    }
)


def _signature(dealer: Dealer, last: str) -> str:
    username, api_key = dealer.credentials["username"], dealer.credentials["api_key"]
    return md5(f"{username}{api_key}{last}".encode(), usedforsecurity=False).hexdigest()


def _is_signed(dealer: Dealer, fields: Mapping[str, Any], last: str) -> bool:
    given = str(fields.get("sign", ""))
    return fields.get("username") == dealer.credentials["username"] and hmac.compare_digest(
        given.encode(), _signature(dealer, last).encode()
    )


def _code(purchase: Purchase, claim: State) -> str:
    if claim is State.FAILED:
        return _CODES[purchase.reason or Reason.DISRUPTED]
    return _CODES[claim]


def _status(code: str) -> int:
    return {"00": 1, _PROCESS: 0}.get(code, 2)


def _data(purchase: Purchase, code: str, balance_rupiah: int) -> dict[str, object]:
    data: dict[str, object] = {
        "ref_id": purchase.dealer_ref,
        "status": _status(code),
        "product_code": purchase.sku,
        "customer_id": purchase.customer_number,
        "price": purchase.price_rupiah,
        "message": _MESSAGES[code],
        "balance": balance_rupiah,
        "rc": code,
    }
    # It only appears with a success.
    return data | {"sn": purchase.serial_number} if code == "00" else data


def _about(dealer: Dealer, ask: Ask, code: str, balance_rupiah: int) -> Reply:
    data = {
        "ref_id": ask.dealer_ref,
        "status": _status(code),
        "product_code": ask.sku,
        "customer_id": ask.customer_number,
        "price": dealer.prices.get(ask.sku, 0),
        "message": _MESSAGES[code],
        "balance": balance_rupiah,
        "rc": code,
    }
    return _reply({name: value for name, value in data.items() if value != ""})


def _error(reason: Reason) -> Reply:
    code = _CODES[reason]
    return _reply({"rc": code, "status": _status(code), "message": _MESSAGES[code]})


def _reply(data: Mapping[str, object]) -> Reply:
    failed = data.get("status") == _status("07")
    return Reply(orjson.dumps({"data": data}), _JSON, 400 if failed else 200)


def _offer(dealer: Dealer, sku: str, price_rupiah: int) -> dict[str, object]:
    return {
        "product_code": sku,
        "product_description": "Pulsa",
        "product_nominal": sku,
        "product_details": "-",
        "product_price": price_rupiah,
        "product_type": "pulsa",
        "active_period": "30",
        "status": "active" if dealer.is_in_stock(sku) else "non active",
    }
