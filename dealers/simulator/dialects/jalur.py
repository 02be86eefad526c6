"""Another Jalur as its resellers see it: JSON, problem documents, webhooks signed like its own.

`GET /v1/orders?ref_id=` asks; `POST /v1/orders` under the same `ref_id` tells the order as it
stands and never buys twice. A real Jalur first says `accepted` to every order; here what is decided
at once is told at once.
"""

import base64
import hmac
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import parse_qsl
from uuid import NAMESPACE_URL, uuid5

import orjson

from dealers.simulator.behaviour import Reason, State, plan_of
from dealers.simulator.book import Purchase
from dealers.simulator.config import Dealer
from dealers.simulator.dialect import NO_SUCH_PAGE, Ask, Incoming, Outgoing, Reply

CREDENTIALS = ("api_key",)
OPTIONAL_CREDENTIALS = ("webhook_secret",)
EXAMPLES = {"webhook_secret": "whsec_cmFoYXNpYSBkYXJpIHRpZ2EgcHVsdWggZHVhIGI="}

_JSON = b"application/json"
_PROBLEM = b"application/problem+json"
_MOST_PRODUCTS = 100

_STATUSES: Mapping[State, str] = MappingProxyType(
    {
        State.PENDING: "processing",
        State.SUCCEEDED: "succeeded",
        State.FAILED: "failed",
        State.REFUNDED: "reversed",
    }
)

_REFUSALS: Mapping[Reason, tuple[int, str, str]] = MappingProxyType(
    {
        Reason.BAD_REQUEST: (
            422,
            "invalid-request",
            "The request has missing or wrong fields.",
        ),
        Reason.WRONG_SIGNATURE: (401, "invalid-key", "The key is unknown."),
        Reason.UNKNOWN_PRODUCT: (422, "unknown-sku", "There is no such product for you."),
        Reason.STOCK: (409, "no-route", "No dealer can serve this order now."),
        Reason.PRICE: (409, "price-above-limit", "The price is above your limit."),
    }
)
_MISMATCH = (422, "idempotency-mismatch", "The reference stands for another order.")

_FAILURES: Mapping[Reason | None, tuple[str, str]] = MappingProxyType(
    {Reason.WRONG_NUMBER: ("number-refused", "The operator refused this number.")}
)
_NOT_DELIVERED = ("not-delivered", "No dealer could deliver this product.")


def read(dealer: Dealer, incoming: Incoming, balance_rupiah: int) -> Ask | Reply:
    """Read a request to `/v1/orders`, `/v1/balance` or `/v1/products`."""
    given = incoming.headers.get(b"authorization", b"")
    if not hmac.compare_digest(given, f"Bearer {dealer.credentials['api_key']}".encode()):
        return _problem(*_REFUSALS[Reason.WRONG_SIGNATURE])
    query = dict(parse_qsl(incoming.query.decode("latin-1"), keep_blank_values=True))
    match incoming.method, incoming.action:
        case "POST", "v1/orders":
            return _order(incoming.body)
        case "GET", "v1/orders":
            return Ask(query.get("ref_id", ""), "", "", only_status=True)
        case "GET", "v1/balance":
            return _balance(balance_rupiah)
        case "GET", "v1/products":
            return _products(dealer, query)
        case _:
            return NO_SUCH_PAGE


def refuse(dealer: Dealer, ask: Ask, reason: Reason, balance_rupiah: int) -> Reply:
    """A problem: the reference stays free."""
    return _problem(*_REFUSALS[reason])


def confirm(dealer: Dealer, purchase: Purchase, balance_rupiah: int) -> Reply:
    """202 with the order as it stands."""
    return _json(_document(purchase, purchase.state), 202)


def recall(dealer: Dealer, ask: Ask, purchase: Purchase | None, balance_rupiah: int) -> Reply:
    """A list of the order that the reference stands for; the order itself where it came again."""
    if ask.only_status:
        return _list(ask.dealer_ref, purchase)
    if purchase is None or (ask.customer_number, ask.sku) != (
        purchase.customer_number,
        purchase.sku,
    ):
        return _problem(*_MISMATCH)
    return _json(_document(purchase, purchase.state))


def callback(dealer: Dealer, purchase: Purchase, claim: State, balance_rupiah: int) -> Outgoing:
    """A webhook, signed where the account has a secret for it."""
    now, kind = time.time(), _event(purchase, claim)
    event = {
        "type": kind,
        "timestamp": datetime.fromtimestamp(now, UTC).isoformat(),
        "data": _document(purchase, claim),
    }
    body = orjson.dumps(event)
    headers = {"content-type": "application/json"}
    secret = dealer.credentials.get("webhook_secret")
    if secret:
        event_id = f"evt_{_uuid(purchase, kind)}"
        signed = f"{event_id}.{int(now)}.".encode() + body
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signature = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
        headers |= {
            "webhook-id": event_id,
            "webhook-timestamp": str(int(now)),
            "webhook-signature": f"v1,{signature}",
        }
    return Outgoing("POST", purchase.callback_url, headers, body)


def _order(body: bytes) -> Ask | Reply:
    try:
        sent: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _problem(400, "invalid-json", "The body is not valid JSON.")
    fields = cast(dict[str, Any], sent) if isinstance(sent, dict) else {}
    wanted = [fields.get(name) for name in ("ref_id", "sku", "customer_number")]
    if not all(isinstance(each, str) and each for each in wanted):
        return _problem(*_REFUSALS[Reason.BAD_REQUEST])
    ref_id, sku, customer_number = cast(list[str], wanted)
    limit = fields.get("max_charge")
    return Ask(
        ref_id,
        sku,
        customer_number,
        price_limited=limit is not None,
        max_price_rupiah=limit if isinstance(limit, int) else None,
    )


def _list(ref_id: str, purchase: Purchase | None) -> Reply:
    data: list[object] = []
    if purchase is not None and purchase.state is not State.LOST:
        data.append(_document(purchase, purchase.state))
    return _json({"data": data, "next_cursor": None, "has_more": False, "ref_id": ref_id})


def _balance(balance_rupiah: int) -> Reply:
    return _json({"available": balance_rupiah, "reserved": 0, "credit_limit": 0, "currency": "IDR"})


def _products(dealer: Dealer, query: Mapping[str, str]) -> Reply:
    """A page by SKU; the cursor is the last SKU seen."""
    limit = query.get("limit", "")
    most = min(int(limit), _MOST_PRODUCTS) if limit.isdecimal() else _MOST_PRODUCTS
    behind = query.get("cursor", "")
    skus = list(islice((sku for sku in sorted(dealer.prices) if sku > behind), most + 1))
    page, has_more = skus[:most], len(skus) > most
    return _json(
        {
            "data": [_product(dealer, sku) for sku in page],
            "next_cursor": page[-1] if has_more else None,
            "has_more": has_more,
        }
    )


def _product(dealer: Dealer, sku: str) -> dict[str, object]:
    return {
        "sku": sku,
        "name": sku,
        "brand": "",
        "kind": "pulsa",
        "denomination": 0,
        "price": dealer.prices[sku],
        "available": dealer.is_in_stock(sku),
    }


def _event(purchase: Purchase, claim: State) -> str:
    """What kind of news a claim is, given how the order was told of at first."""
    if claim is State.SUCCEEDED:
        told = plan_of(purchase.digits).state
        kinds = {State.FAILED: "order.corrected", State.SUCCEEDED: "order.updated"}
        return kinds.get(told, "order.succeeded")
    return "order.reversed" if claim is State.REFUNDED else "order.failed"


def _document(purchase: Purchase, claim: State) -> dict[str, object]:
    created_at = datetime.fromtimestamp(purchase.created_at, UTC).isoformat()
    code, message = _FAILURES.get(purchase.reason, _NOT_DELIVERED)
    status = _STATUSES[claim]
    return {
        "id": _uuid(purchase, "order"),
        "ref_id": purchase.dealer_ref,
        "sku": purchase.sku,
        "brand": "",
        "customer_number": purchase.customer_number,
        "cluster": None,
        "price": purchase.price_rupiah,
        "status": status,
        "delayed": False,
        "serial_number": purchase.serial_number or None,
        "failure": {"code": code, "message": message} if claim is State.FAILED else None,
        "version": 1 if claim is State.PENDING else 2 + purchase.step,
        "created_at": created_at,
        "finished_at": None if claim is State.PENDING else created_at,
        "metadata": None,
    }


def _uuid(purchase: Purchase, what: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"{purchase.dealer_id}/{purchase.dealer_ref}/{what}"))


def _problem(status: int, code: str, detail: str) -> Reply:
    document: dict[str, object] = {
        "type": f"/problems/{code}",
        "title": code,
        "status": status,
        "detail": detail,
        "code": code,
        "errors": [],
        "trace_id": "0" * 32,
    }
    return Reply(orjson.dumps(document), _PROBLEM, status)


def _json(document: object, status: int = 200) -> Reply:
    return Reply(orjson.dumps(document), _JSON, status)
