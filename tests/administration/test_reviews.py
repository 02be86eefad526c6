"""Operators decide: as if the dealer had spoken, once, with a line that comes and goes with it."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from app.administration.operator import Operator, Scope
from app.administration.reviews import (
    Outcome,
    close_dispute,
    list_disputes,
    list_reviews,
    resolve_review,
)
from app.errors import Conflict, Forbidden, NotFound, Problem, Unprocessable
from app.lifecycle.execute import Purchase
from app.lifecycle.resolve import Answer, Resolution
from app.lifecycle.settle import Settler
from app.storage import statements
from app.words import Said, Source
from dealers.contract import Fault
from dealers.contract import Outcome as Heard
from tests.publishing import PUBLISH
from tests.shops import (
    ALFA,
    BRAVO,
    CHARLIE,
    OPENING_RUPIAH,
    PRICE,
    Owner,
    Shop,
    engine_on,
    enrol,
    furnish,
)

ADA = Operator("ada", "console")
BEN = Operator("ben", "console")


@pytest.fixture
async def shop(database_dsn: str) -> AsyncIterator[Shop]:
    """A shop whose money must add up whatever was decided."""
    await furnish(database_dsn, [ALFA, BRAVO, CHARLIE])
    async with engine_on(database_dsn) as engine:
        yield Shop(engine, await enrol(engine))
        async with engine.pool.acquire() as connection:
            assert await statements.verify(connection) == []


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[Owner]:
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()


async def in_review(shop: Shop, ref_id: str = "A1") -> Purchase:
    """A purchase whose outcome stayed unknown for too long."""
    purchase = await shop.bought(ref_id)
    await shop.execute("update attempts set sent_at = now() - interval '31 minutes'")
    await shop.hear(purchase, Heard.UNKNOWN, transport=True)
    return purchase


async def decide(
    shop: Shop,
    purchase: Purchase,
    said: Said,
    by: Operator = ADA,
    *,
    settler: Settler | None = None,
    reason: str = "their statement",
    **more: Any,
) -> Outcome:
    return await resolve_review(
        shop.engine.pool,
        settler or shop.engine.settler,
        by,
        purchase.order_id,
        purchase.attempt_no,
        said,
        reason,
        **more,
    )


async def refusal(shop: Shop, purchase: Purchase, said: Said, **more: Any) -> Problem:
    """The problem that a decision meets, having changed nothing."""
    before = await traces(shop)
    with pytest.raises(Problem) as met:
        await decide(shop, purchase, said, **more)
    assert await traces(shop) == before
    return met.value


async def traces(shop: Shop) -> list[Any]:
    """Everything that a decision changes."""
    queries = (
        "select (o.status, o.version, o.needs_review)::text from orders o order by order_id",
        "select (state, due_at, claim_id)::text from attempts order by order_id, attempt_no",
        "select (reason, closed_at, resolution)::text from reviews order by order_id, reason",
        "select seq::text from ledger_entries order by 1",
        "select audit_id::text from audit_log order by 1",
    )
    return [[row[0] for row in await shop.fetch(query)] for query in queries]


async def resolutions(shop: Shop) -> list[str | None]:
    rows = await shop.fetch("select resolution from reviews order by opened_at, attempt_no")
    return [row[0] for row in rows]


async def lines(shop: Shop) -> list[dict[str, Any]]:
    rows = await shop.fetch(
        "select operator, action, subject, reason, before::text, after::text from audit_log "
        "where action <> 'deposit.booked' order by audit_id"
    )
    return [
        {**dict(row), "before": json.loads(row["before"]), "after": json.loads(row["after"])}
        for row in rows
    ]


# ------------------------------------------------------------------ deciding


async def test_success_captures_tells_the_reseller_and_leaves_its_line(shop: Shop):
    purchase = await in_review(shop)
    outcome = await decide(shop, purchase, Said.SUCCEEDED, serial_number="SN7")
    assert (outcome.decided_before, outcome.stands.order_status) == (False, "succeeded")
    assert await shop.kinds(purchase.order_id) == ["reserve", "capture"]
    assert await shop.events(purchase.order_id) == ["order.succeeded"]
    assert await shop.value("select serial_number from orders") == "SN7"
    assert not await shop.value("select needs_review from orders")
    (line,) = await lines(shop)
    assert (line["operator"], line["action"]) == ("ada", "review.resolved")
    assert (line["subject"], line["reason"]) == (f"order:{purchase.order_id}", "their statement")
    assert line["before"] == {"order": "processing", "attempt_no": 1, "attempt": "unknown"}
    assert (line["after"]["said"], line["after"]["money"]) == ("succeeded", "capture")


async def test_closed_review_names_its_line_in_the_audit_log(shop: Shop):
    purchase = await in_review(shop)
    await decide(shop, purchase, Said.SUCCEEDED)
    audit_id = await shop.value("select audit_id from audit_log where action = 'review.resolved'")
    assert await resolutions(shop) == [f"succeeded, said by an operator, audit {audit_id}"]


async def test_failure_sends_the_order_to_the_next_dealer_while_there_is_time(shop: Shop):
    purchase = await in_review(shop)
    outcome = await decide(shop, purchase, Said.FAILED)
    assert (outcome.stands.order_status, outcome.stands.attempt_state) == ("processing", "failed")
    assert not outcome.stands.needs_review
    assert await shop.waiting() == [(2, "bravo")]
    assert (await list_reviews(shop.engine.pool, ADA, 10)) == []
    await shop.succeed(await shop.claim_one())
    assert await shop.kinds(purchase.order_id) == ["reserve", "capture"]


async def test_failure_after_that_time_releases_the_money(shop: Shop):
    purchase = await in_review(shop)
    await shop.execute("update orders set retry_until = now()")
    await decide(shop, purchase, Said.FAILED)
    assert await shop.status(purchase.order_id) == "failed"
    assert await shop.value("select failure_code from orders") == "not-delivered"
    assert await shop.money() == (OPENING_RUPIAH, 0)


async def test_line_tells_what_really_became_of_the_order(shop: Shop):
    """No dealer is left, so the failure that asks for another ends the order."""
    purchase = await in_review(shop)
    await shop.execute("update routes set enabled = false")
    await shop.execute(PUBLISH)
    await shop.engine.upkeep.take_up_table()
    await decide(shop, purchase, Said.FAILED)
    (line,) = await lines(shop)
    assert (line["after"]["order"], line["after"]["money"]) == ("failed", "release")


async def test_refused_number_ends_the_order_although_dealers_are_left(shop: Shop):
    purchase = await in_review(shop)
    await decide(shop, purchase, Said.NUMBER_REFUSED)
    assert await shop.status(purchase.order_id) == "failed"
    assert await shop.value("select failure_code from orders") == "number-refused"
    assert await shop.waiting() == []


async def contradicted(shop: Shop) -> Purchase:
    """A delivered purchase that its dealer, asked, calls failed."""
    purchase = await shop.bought()
    await shop.succeed(purchase)
    await shop.hear(purchase, Heard.FAILED, Source.CHECK)
    return purchase


async def test_contradicted_success_is_confirmed_or_paid_back(shop: Shop):
    purchase = await contradicted(shop)
    assert (await refusal(shop, purchase, Said.FAILED)).code == "word-does-not-fit"
    await decide(shop, purchase, Said.REVERSED)
    assert await shop.status(purchase.order_id) == "reversed"
    assert await shop.kinds(purchase.order_id) == ["reserve", "capture", "refund"]
    assert await shop.events(purchase.order_id) == ["order.succeeded", "order.reversed"]


async def test_confirmed_success_leaves_the_queue_and_moves_nothing(shop: Shop):
    purchase = await contradicted(shop)
    await decide(shop, purchase, Said.SUCCEEDED)
    assert await shop.kinds(purchase.order_id) == ["reserve", "capture"]
    assert await list_reviews(shop.engine.pool, ADA, 10) == []
    assert len(await lines(shop)) == 1


async def test_success_after_a_reversal_can_only_be_left_so(shop: Shop):
    purchase = await shop.bought()
    await shop.succeed(purchase)
    await shop.hear(purchase, Heard.FAILED, Source.CALLBACK, reversal=True)
    await shop.succeed(purchase, Source.CALLBACK)
    problem = await refusal(shop, purchase, Said.SUCCEEDED)
    assert problem.code == "word-does-not-fit"
    assert "say failed" in problem.detail
    await decide(shop, purchase, Said.FAILED)
    assert await shop.status(purchase.order_id) == "reversed"
    assert await shop.money() == (OPENING_RUPIAH, 0)
    assert await list_reviews(shop.engine.pool, ADA, 10) == []


async def test_dealers_success_after_an_operators_failure_is_still_heard(shop: Shop):
    purchase = await in_review(shop)
    await decide(shop, purchase, Said.NUMBER_REFUSED)
    await shop.succeed(purchase, Source.CALLBACK)
    assert await shop.kinds(purchase.order_id) == ["reserve", "release", "correction"]


async def test_another_attempts_review_stays_open(shop: Shop):
    first = await shop.bought()
    await shop.refuse(first)
    second = await shop.claim_one()
    await shop.execute("update attempts set sent_at = now() - interval '31 minutes'")
    await shop.hear(second, Heard.UNKNOWN, transport=True)
    await shop.execute(
        "insert into reviews (lane, order_id, attempt_no, reason) "
        "select lane, order_id, 1, 'unanswered' from orders"
    )
    outcome = await decide(shop, second, Said.FAILED)
    assert outcome.stands.needs_review
    assert [each.attempt_no for each in await list_reviews(shop.engine.pool, ADA, 10)] == [1]
    await decide(shop, first, Said.FAILED)
    assert not await shop.value("select needs_review from orders")


# ------------------------------------------------------------------ refusals


async def test_nothing_is_decided_while_a_question_is_on_its_way(shop: Shop):
    purchase = await in_review(shop)
    check = await shop.claim_check()
    problem = await refusal(shop, purchase, Said.SUCCEEDED)
    assert (problem.code, problem.status) == ("check-in-flight", 409)
    await shop.hear(purchase, Heard.UNKNOWN, Source.CHECK, fence=check.due.fence)
    await decide(shop, purchase, Said.SUCCEEDED)


async def test_only_what_is_in_review_is_decided(shop: Shop):
    purchase = await shop.bought()
    await shop.hear(purchase, Heard.PENDING)
    assert (await refusal(shop, purchase, Said.SUCCEEDED)).code == "not-in-review"


async def test_review_that_the_dealers_word_closed_is_not_decided(shop: Shop):
    purchase = await in_review(shop)
    await shop.hear(purchase, Heard.FAILED, Source.CALLBACK, fault=Fault.NUMBER)
    problem = await refusal(shop, purchase, Said.SUCCEEDED)
    assert problem.code == "review-closed"
    assert "dealer's word" in problem.detail


@pytest.mark.parametrize("number", [1, 7])
async def test_strange_order_or_attempt_is_not_found(shop: Shop, number: int):
    purchase = await in_review(shop)
    strange = replace(
        purchase, attempt_no=number, order_id=purchase.order_id if number > 1 else UUID(int=number)
    )
    assert isinstance(await refusal(shop, strange, Said.SUCCEEDED), NotFound)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        (Said.SUCCEEDED, {"reason": " "}),
        (Said.SUCCEEDED, {"reason": "x" * 501}),
        (Said.SUCCEEDED, {"reason": "a\0b"}),
        (Said.SUCCEEDED, {"serial_number": ""}),
        (Said.SUCCEEDED, {"serial_number": "a\nb"}),
        (Said.FAILED, {"serial_number": "SN7"}),
    ],
)
async def test_decision_that_is_not_well_formed_is_refused(
    shop: Shop, said: Said, wrong: dict[str, str]
):
    purchase = await in_review(shop)
    problem = await refusal(shop, purchase, said, **wrong)
    assert isinstance(problem, Unprocessable)
    assert [each.field for each in problem.errors] == [next(iter(wrong))]


async def test_deciding_needs_its_scope(shop: Shop):
    purchase = await in_review(shop)
    reader = replace(ADA, scopes=frozenset({Scope.ROUTES}))
    assert isinstance(await refusal(shop, purchase, Said.SUCCEEDED, by=reader), Forbidden)


# ------------------------------------------------------------------ again, and at once


async def test_same_word_again_was_decided_before(shop: Shop):
    purchase = await in_review(shop)
    await decide(shop, purchase, Said.FAILED)
    again = await decide(shop, purchase, Said.FAILED, BEN)
    assert again.decided_before
    assert len(await lines(shop)) == 1
    assert (await refusal(shop, purchase, Said.SUCCEEDED)).code == "review-closed"


async def test_two_operators_at_once_come_to_one_decision(shop: Shop, database_dsn: str):
    """Each in a process of its own, each with another word."""
    purchases = [await in_review(shop, f"A{number}") for number in range(6)]
    async with engine_on(database_dsn) as elsewhere:
        for purchase in purchases:
            results = await asyncio.gather(
                decide(shop, purchase, Said.SUCCEEDED),
                decide(shop, purchase, Said.NUMBER_REFUSED, BEN, settler=elsewhere.settler),
                return_exceptions=True,
            )
            (lost,) = [each for each in results if isinstance(each, BaseException)]
            (won,) = [each for each in results if isinstance(each, Outcome)]
            assert isinstance(lost, Conflict)
            assert lost.code == "review-closed"
            assert won.said in str(lost)
    assert len(await lines(shop)) == len(purchases)


async def test_decisions_of_one_moment_are_each_made_beside_dealers_words(shop: Shop):
    reviewed = [await in_review(shop, f"A{number}") for number in range(5)]
    bought = [await shop.bought(f"B{number}") for number in range(5)]
    await asyncio.gather(
        *(decide(shop, each, Said.SUCCEEDED) for each in reviewed),
        *(shop.succeed(each) for each in bought),
    )
    assert len(await lines(shop)) == len(reviewed)
    assert await shop.money() == (OPENING_RUPIAH - 10 * PRICE, 0)


async def test_decision_whose_line_cannot_be_written_is_not_made(shop: Shop, owner: Owner):
    purchase = await in_review(shop)
    await owner.execute("alter table audit_log add constraint shut check (false) not valid")
    with pytest.raises(asyncpg.CheckViolationError):
        await decide(shop, purchase, Said.SUCCEEDED)
    await owner.execute("alter table audit_log drop constraint shut")
    assert await shop.status(purchase.order_id) == "processing"
    assert await shop.kinds(purchase.order_id) == ["reserve"]
    assert await resolutions(shop) == [None]


async def test_decision_whose_commit_is_in_doubt_is_made_once(shop: Shop):
    """Its batch is applied again: the second time it finds itself."""
    purchase = await in_review(shop)
    mine = Resolution(1, Said.SUCCEEDED, "SN7", "ada", "console", "x", uuid7())
    settler = shop.engine.settler
    answers = [
        (await settler.resolve(purchase.lane, purchase.order_id, mine)).answer for _ in range(2)
    ]
    assert answers == [Answer.DECIDED, Answer.DECIDED]
    assert await shop.kinds(purchase.order_id) == ["reserve", "capture"]
    assert len(await lines(shop)) == 1


# ------------------------------------------------------------------ disputes


async def disputed(shop: Shop) -> Purchase:
    first = await shop.bought()
    await shop.refuse(first)
    await shop.succeed(await shop.claim_one())
    await shop.succeed(first, Source.CALLBACK)
    return first


async def end(shop: Shop, purchase: Purchase, resolution: str = "paid back") -> bool:
    order_id, number = purchase.order_id, purchase.attempt_no
    return await close_dispute(shop.engine.pool, ADA, order_id, number, resolution, "their letter")


async def test_dispute_is_listed_and_closed_once_with_its_line(shop: Shop):
    purchase = await disputed(shop)
    (listed,) = await list_disputes(shop.engine.pool, ADA, 10)
    assert (listed.dealer_id, listed.dealer_ref) == ("alfa", purchase.order.dealer_ref)
    assert await end(shop, purchase)
    assert not await end(shop, purchase)
    assert await list_disputes(shop.engine.pool, ADA, 10) == []
    (line,) = await lines(shop)
    assert (line["action"], line["after"]["resolution"]) == ("dispute.closed", "paid back")
    assert await shop.money() == (OPENING_RUPIAH - PRICE, 0)


async def test_closed_dispute_is_not_closed_otherwise(shop: Shop):
    purchase = await disputed(shop)
    await end(shop, purchase)
    with pytest.raises(Conflict, match="paid back"):
        await end(shop, purchase, "written off")
    assert len(await lines(shop)) == 1


async def test_dispute_that_is_none_cannot_be_closed(shop: Shop):
    purchase = await shop.bought()
    with pytest.raises(NotFound):
        await end(shop, purchase)
    with pytest.raises(NotFound):
        await end(shop, replace(purchase, order_id=uuid7()))
    with pytest.raises(Unprocessable):
        await end(shop, purchase, " ")
