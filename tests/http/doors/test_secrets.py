"""What clients sign and call with is in no log line, no answer, no metric and no stored row."""

import io
import logging
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest

from app import logs
from app.http.doors import buying
from dealers.contract import Answer, Request
from tests.http.doors.client import ORDER, SHAPES, Client, open_door
from tests.http.shop import Customer, Shop

_SECRET_NAMES = {"api_key", "pin", "password", "pass", "sign"}


def secrets_in(client: Client, request: Request) -> set[str]:
    """The credentials, and what this request carries of them."""
    sent = dict(parse_qsl(urlsplit(request.url).query))
    if len(request.body) > 1:
        sent |= orjson.loads(request.body)
    held = {**client.account.credentials, **sent}
    return {str(value) for name, value in held.items() if name in _SECRET_NAMES}


async def whole_database(shop: Shop) -> str:
    """Every row of every table, as text."""
    tables = await shop.owner.fetch(
        "select tablename from pg_tables where schemaname = 'public' order by 1"
    )
    rows = [await shop.owner.fetch(f"select t::text from {table[0]} t") for table in tables]
    return "\n".join(row[0] for each in rows for row in each)


@pytest.mark.parametrize("shape", SHAPES)
async def test_no_secret_is_told_or_kept(
    shop: Shop, customer: Customer, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = io.TextIOWrapper(io.BytesIO())
    written_to = vars(logs)["_lines"]
    for name in ("out", "render", "threshold"):
        # As they are, so that they are put back.
        monkeypatch.setattr(written_to, name, getattr(written_to, name))
    logs.configure("json", "debug", lines)
    logging.getLogger("uvicorn.error").setLevel(logging.DEBUG)
    client = await open_door(shop, customer, shape)
    wrong = client.with_(**dict.fromkeys(client.account.credentials, "wr0ng-guess-4711"))
    answers, secrets = list[Answer](), {"wr0ng-guess-4711"}

    async def tell(by: Client, request: Request) -> None:
        secrets.update(secrets_in(by, request))
        answers.append(await by.send(request))

    for each in (client, wrong):
        purchase = each.dialect.top_up(each.account, ORDER)
        await tell(each, purchase)
        balance = each.dialect.balance(each.account)
        if balance is not None:
            await tell(each, balance)
        # A method and an address that are not served, and a query that cannot be read.
        await tell(each, Request("PUT", purchase.url, purchase.headers, purchase.body))
        await tell(each, Request("GET", purchase.url.replace("/doors/", "/door/")))
        await tell(each, Request(purchase.method, f"{purchase.url}&pin=%zz&pin=1&=", {}, b"{"))
    monkeypatch.setattr(buying, "place", _breaks)
    await tell(client, client.dialect.top_up(client.account, ORDER))

    logs.flush()
    lines.flush()
    written = lines.buffer.getvalue().decode()  # pyright: ignore[reportAttributeAccessIssue]
    metrics = await client.http.get("http://jalur/metrics")
    told = "".join(str(answer) + answer.body.decode() for answer in answers)
    assert "door.failed" in written
    for name, text in {
        "logs": written,
        "answers": told,
        "metrics": metrics.text,
        "rows": await whole_database(shop),
    }.items():
        found = [each for each in secrets if len(each) > 6 and each in text]
        assert not found, name
        pin = client.account.credentials.get("pin")
        assert pin is None or f'"{pin}"' not in text
        assert pin is None or f"pin={pin}" not in text


async def _breaks(*_: object) -> None:
    raise ValueError("a fault of ours")
