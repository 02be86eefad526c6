"""The review queue and the disputes over HTTP."""

import httpx
import pytest

from dealers.contract import Outcome
from tests.http.problems import assert_problem
from tests.http.shop import Customer, Sent, Shop


@pytest.fixture
async def desk(shop: Shop) -> httpx.AsyncClient:
    """An operator's way to the API."""
    return shop.client("operators-token")


@pytest.fixture
async def doubtful(shop: Shop, customer: Customer) -> Sent:
    """An order whose only purchase stands in review."""
    sent = await shop.send_to_dealer((await customer.order()).json())
    await shop.owner.execute("update attempts set claim_id = null, sent_at = now() - interval '1h'")
    await sent.hear(Outcome.UNKNOWN)
    return sent


async def decide(desk: httpx.AsyncClient, sent: Sent, word: str, **more: object) -> httpx.Response:
    path = f"/admin/v1/reviews/{sent.order_id}/{sent.attempt_no}/resolve"
    return await desk.post(path, json={"word": word, "reason": "their statement"} | more)


async def test_review_is_listed_decided_and_told_to_its_reseller(
    desk: httpx.AsyncClient, doubtful: Sent, customer: Customer
):
    (listed,) = (await desk.get("/admin/v1/reviews")).json()["data"]
    assert (listed["order_id"], listed["reason"]) == (str(doubtful.order_id), "unresolved")
    answer = await decide(desk, doubtful, "succeeded", serial_number="SN7")
    assert answer.json() == {
        "order_id": str(doubtful.order_id),
        "attempt_no": 1,
        "word": "succeeded",
        "decided_before": False,
        "order": "succeeded",
        "attempt": "succeeded",
        "delayed": False,
    }
    assert (await desk.get("/admin/v1/reviews")).json()["data"] == []
    (event,) = (await customer.http.get("/v1/events")).json()["data"]
    assert (event["type"], event["data"]["serial_number"]) == ("order.succeeded", "SN7")
    line = await doubtful.shop.owner.fetchrow("select operator, action, reason from audit_log")
    assert tuple(line) == ("admin-token", "review.resolved", "their statement")


async def test_same_decision_again_is_answered_and_another_one_refused(
    desk: httpx.AsyncClient, doubtful: Sent
):
    await decide(desk, doubtful, "number-refused")
    again = await decide(desk, doubtful, "number-refused")
    assert (again.status_code, again.json()["decided_before"]) == (200, True)
    assert_problem(await decide(desk, doubtful, "succeeded"), 409, "review-closed")


async def test_decision_is_refused_while_the_dealer_is_asked(
    shop: Shop, desk: httpx.AsyncClient, doubtful: Sent
):
    await shop.owner.execute("update attempts set claim_id = gen_random_uuid(), due_at = now()")
    assert_problem(await decide(desk, doubtful, "failed"), 409, "check-in-flight")


async def test_word_that_does_not_fit_is_refused_with_the_one_that_does(
    desk: httpx.AsyncClient, doubtful: Sent
):
    answer = await decide(desk, doubtful, "reversed")
    assert_problem(answer, 409, "word-does-not-fit")
    assert "say failed" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"word": "lost", "reason": "x"}, "word"),
        ({"word": "failed"}, "reason"),
        ({"word": "failed", "reason": ""}, "reason"),
        ({"word": "failed", "reason": "x", "serial_number": "SN"}, "serial_number"),
        ({"word": "failed", "reason": "x", "money": 1}, "money"),
    ],
)
async def test_decision_that_is_not_well_formed_names_its_field(
    desk: httpx.AsyncClient, doubtful: Sent, body: dict[str, object], field: str
):
    path = f"/admin/v1/reviews/{doubtful.order_id}/1/resolve"
    answer = await desk.post(path, json=body)
    assert_problem(answer, 422, "invalid-request")
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_strange_attempts_and_strange_callers_are_refused(
    shop: Shop, desk: httpx.AsyncClient, doubtful: Sent, customer: Customer
):
    body = {"word": "failed", "reason": "x"}
    strange = f"/admin/v1/reviews/{doubtful.order_id}/2/resolve"
    assert_problem(await desk.post(strange, json=body), 404, "not-found")
    assert_problem(
        await desk.post("/admin/v1/reviews/A1/1/resolve", json=body), 422, "invalid-request"
    )
    assert_problem(await decide(customer.http, doubtful, "failed"), 401, "invalid-key")
    assert_problem(await customer.http.get("/admin/v1/disputes"), 401, "invalid-key")


async def test_dispute_is_listed_and_closed(
    shop: Shop, desk: httpx.AsyncClient, customer: Customer
):
    order = (await customer.order()).json()
    first = await shop.send_to_dealer(order)
    await first.hear(Outcome.REJECTED)
    second = await shop.send_to_dealer(order)
    await first.hear(Outcome.SUCCEEDED)
    await second.hear(Outcome.SUCCEEDED)
    (listed,) = (await desk.get("/admin/v1/disputes")).json()["data"]
    assert (listed["order_id"], listed["attempt_no"]) == (order["id"], 1)
    path = f"/admin/v1/disputes/{order['id']}/1/close"
    body = {"resolution": "paid back", "reason": "their letter"}
    assert (await desk.post(path, json=body)).json() == {"closed": True}
    assert (await desk.post(path, json=body)).json() == {"closed": False}
    other = body | {"resolution": "written off"}
    assert_problem(await desk.post(path, json=other), 409, "dispute-closed")
    assert (await desk.get("/admin/v1/disputes")).json()["data"] == []
