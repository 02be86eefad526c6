"""What the acts' results look like to operators, on a terminal's `--json` and over HTTP alike."""

import json
from collections.abc import Sequence
from typing import Any

from app.administration.dealers import callback_path
from app.administration.money import Receipt
from app.storage.api_keys import KeyRecord
from app.storage.audit import Line
from app.storage.callbacks import Seen
from app.storage.processes import Process
from app.storage.reference import DealerRow
from app.storage.resellers import Account
from app.storage.tokens import GeneratedKey
from schemas.admin.dealers import (
    ConfiguredDealer,
    Dealer,
    DealerCallback,
    LiveDealer,
    LiveLimits,
)
from schemas.admin.operators import AuditLine, CreatedOperatorToken
from schemas.admin.resellers import Booking, CreatedKey
from schemas.keys import CreatedOwnKey, Key


def created_key(account: Account, key: GeneratedKey) -> dict[str, Any]:
    """A new key with its secret."""
    return CreatedKey.of(
        {
            "id": key.key_id,
            "mode": key.mode,
            "reseller_id": account.reseller_id,
            "key": key.token,
        }
    )


def key(record: KeyRecord) -> dict[str, Any]:
    """A key without its secret."""
    return Key.model_validate(_stated_key(record)).model_dump(mode="json")


def created_own_key(record: KeyRecord, made: GeneratedKey) -> dict[str, Any]:
    """A reseller's new key with its secret."""
    stated = {**_stated_key(record), "key": made.token}
    return CreatedOwnKey.model_validate(stated).model_dump(mode="json")


def _stated_key(record: KeyRecord) -> dict[str, Any]:
    return {
        **{name: getattr(record, name) for name in KeyRecord.__slots__},
        "id": record.key_id,
        "scopes": None if record.scopes is None else sorted(record.scopes),
        "addresses": [str(network) for network in record.addresses],
    }


def created_token(name: str, scopes: list[str], token: GeneratedKey) -> dict[str, Any]:
    """A new operator's token with its secret."""
    return CreatedOperatorToken.of(
        {"id": token.key_id, "name": name, "scopes": scopes, "token": token.token}
    )


def booking(receipt: Receipt) -> dict[str, Any]:
    """What stands booked."""
    return Booking.of(
        {
            "reseller_id": receipt.account.reseller_id,
            "amount": receipt.amount,
            "reference": receipt.reference,
            "available": receipt.available,
            "repeated": receipt.repeated,
        }
    )


def dealer(row: DealerRow, *, with_callback: bool = False) -> dict[str, Any]:
    """A dealer, on demand with its callback address, which is a secret."""
    stated = _stated(row)
    if with_callback:
        return ConfiguredDealer.of({**stated, "callback_path": callback_path(row)})
    return Dealer.of(stated)


def live_dealer(row: DealerRow, processes: Sequence[Process]) -> dict[str, Any]:
    """A dealer with what the processes that buy hold of its limits."""
    held = [each.holds[row.dealer_id] for each in processes if row.dealer_id in each.holds]
    live = LiveLimits(
        processes=len(processes),
        limit=sum(each.limit for each in held),
        in_use=sum(each.in_use for each in held),
    )
    return LiveDealer.of({**_stated(row), "live": live})


def _stated(row: DealerRow) -> dict[str, Any]:
    return {
        **{name: getattr(row, name) for name in DealerRow.__slots__},
        "options": {str(name): str(value) for name, value in json.loads(row.options).items()},
        "timeout_seconds": round(row.timeout_seconds, 3),
        "connect_timeout_seconds": round(row.connect_timeout_seconds, 3),
    }


def dealer_callback(seen: Seen) -> dict[str, Any]:
    """A dealer's callback. What is no text in its body is replaced."""
    fields = {name: getattr(seen, name) for name in Seen.__slots__}
    return DealerCallback.of(
        {
            **fields,
            "reading": None if seen.reading is None else json.loads(seen.reading),
            "headers": json.loads(seen.headers),
            "body": seen.body.decode("utf-8", "replace"),
        }
    )


def audit_line(line: Line) -> dict[str, Any]:
    """A line of the audit log."""
    act = {name: getattr(line.act, name) for name in line.act.__slots__}
    return AuditLine.of({"id": line.audit_id, "acted_at": line.acted_at, **act})
