"""Refuse: why a callback was not taken can be looked up, and costs little, however many come."""

from typing import Any

import pytest

from app.errors import Forbidden, NotFound
from app.lifecycle.refuse import Cause, NotTaken, Refusals
from app.metrics import Metrics
from app.storage import callbacks
from app.storage.callbacks import MOST_REFUSED, Seen
from dealers.contract import Callback
from tests.shops import Shop

OK = "refid={}&status=20"


async def seen(shop: Shop, limit: int = 100) -> list[Seen]:
    async with shop.engine.pool.acquire() as connection:
        return await callbacks.newest(connection, "alfa", limit)


async def refused(shop: Shop, query: str, token: str | None = "sesame", body: bytes = b"") -> None:
    callback = Callback("GET", query, {"user-agent": "center"}, body)
    with pytest.raises((Forbidden, NotFound)):
        await shop.engine.receiver.receive("alfa", token, callback, "203.0.113.7")


@pytest.mark.parametrize(
    ("query", "token", "cause", "detail"),
    [
        (OK.format("ZZZ"), "guess", "path", "the path's token is wrong"),
        (OK.format("ZZZ"), None, "path", "the path's token is missing"),
        ("status=20", "sesame", "unreadable", "refid or status is missing, or there are several"),
        (OK.format("1"), "sesame", "reference", "foreign reference 1"),
    ],
)
async def test_a_refused_callback_is_kept_as_it_came_with_its_cause(
    shop: Shop, query: str, token: str | None, cause: str, detail: str
):
    await refused(shop, query, token, b"\x00\xff raw")
    (kept,) = await seen(shop)
    assert (kept.verdict, kept.cause, kept.detail) == ("refused", cause, detail)
    assert (kept.method, kept.query, kept.body) == ("GET", query, b"\x00\xff raw")
    assert kept.headers == '{"user-agent":"center"}'
    assert kept.source_address == "203.0.113.7"


async def test_the_same_refused_callback_again_is_counted(shop: Shop):
    for _ in range(3):
        await refused(shop, "status=20")
    (kept,) = await seen(shop)
    assert kept.times_received == 3


async def test_what_is_long_is_cut(shop: Shop):
    await refused(shop, "x" * 9000, body=b"y" * 60_000)
    (kept,) = await seen(shop)
    assert (len(kept.query), len(kept.body)) == (4096, 4096)


async def test_of_each_cause_the_newest_few_are_kept_and_a_flood_is_written_seldom(shop: Shop):
    now = 0.0
    refusals = Refusals(shop.engine.pool, Metrics(), clock=lambda: now)

    async def refuse(cause: Cause, number: int) -> None:
        told = NotTaken(cause, "why", Forbidden("callback-refused", "no"))
        await refusals.keep("alfa", told, Callback("GET", str(number), {}, b""), "203.0.113.7")

    async def numbers(cause: Cause) -> set[int]:
        return {int(each.query) for each in await seen(shop) if each.cause == cause}

    await refuse(Cause.UNREADABLE, 1)
    for number in range(3 * MOST_REFUSED):
        await refuse(Cause.PATH, number)
    assert await numbers(Cause.PATH) == set(range(MOST_REFUSED))
    now = 5.5
    for number in range(100, 110):
        await refuse(Cause.PATH, number)
    assert await numbers(Cause.PATH) == {*range(5, MOST_REFUSED), *range(100, 105)}
    assert await numbers(Cause.UNREADABLE) == {1}


async def test_a_refusal_that_cannot_be_kept_is_answered_all_the_same(shop: Shop, owner: Any):
    await owner.execute("drop table refused_callbacks")
    callback = Callback("GET", "status=20", {"user-agent": "center"}, b"")
    with pytest.raises((Forbidden, NotFound)):
        await shop.engine.receiver.receive("alfa", "sesame", callback, "203.0.113.7")


async def test_taken_and_refused_are_listed_together_the_newest_first(shop: Shop):
    purchase = await shop.bought()
    await refused(shop, "status=20")
    good = Callback("GET", f"{OK.format(purchase.order.dealer_ref)}&message=SUKSES", {}, b"")
    await shop.engine.receiver.receive("alfa", "sesame", good, "203.0.113.7")
    newest, oldest = await seen(shop)
    assert (newest.verdict, newest.cause, oldest.verdict) == ("waiting", None, "refused")
    assert not newest.trusted
    assert newest.reading is not None
    assert f'"dealer_ref":"{purchase.order.dealer_ref}"' in newest.reading
    assert '"outcome":"succeeded"' in newest.reading
    assert '"verified":false' in newest.reading
    assert len(await seen(shop, limit=1)) == 1
