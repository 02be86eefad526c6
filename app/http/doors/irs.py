"""The IRS-shaped door: one GET that buys, answered in a sentence of Indonesian text.

`id`, `pin`, `user` and `pass` say who calls. The same `idtrx` sent again tells how its order
stands; a `counter` above 1 says that a product is meant for a number once more. `hargamax` is the
highest price. Answers are always HTTP 200.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from app.errors import Problem
from app.http.api import Parts
from app.http.door_holders import Secrets
from app.http.doors.buying import Asked, buy
from app.http.doors.callers import caller_at, same
from app.http.doors.texts import BUSY, can_be_said, query_of, sayable, text_answer
from app.http.problems import EXPECTED, problem_of
from app.shapes import irs
from app.shapes.telling import State

routes = APIRouter(prefix="/doors/irs", include_in_schema=False)

SHAPE = "irs"

_Query = Mapping[str, str]

_REASONS = {
    "invalid-key": irs.WRONG_ACCOUNT,
    "forbidden": irs.WRONG_ADDRESS,
    "invalid-request": irs.WRONG_PAYLOAD,
}
"""Problems at the door; every other one is told as pending."""

_COUNTER = re.compile(r"[0-9]{1,2}")
_LONGEST_LIMIT = 13


@routes.get("/trx", response_model=None)
async def transaction(request: Request, api: Parts) -> Response:
    """Buy; with an `idtrx` that was sent before, tell how its order stands."""
    query: _Query = {}
    try:
        query = query_of(request)
        name = query.get("id", "")
        caller = await caller_at(
            api, request, SHAPE, name, lambda secrets: _proves(query, secrets), "orders"
        )
        asked = _asked(query)
    except EXPECTED as error:
        return text_answer(_refusal(query, problem_of(error)))
    return text_answer(irs.sentence(await buy(api, caller, asked, request.state.trace)))


def _proves(query: _Query, secrets: Secrets) -> bool:
    right = [same(query.get(name, ""), secrets[name]) for name in ("pin", "user", "pass")]
    return all(right)


def _asked(query: _Query) -> Asked:
    """What is ordered, with its fault. Raises BadRequest without a reference."""
    limit, fault = query.get("hargamax") or "0", None
    if not (limit.isascii() and limit.isdigit() and len(limit) <= _LONGEST_LIMIT):
        limit, fault = "0", "hargamax must be whole rupiah."
    return sayable(replace(_subject(query), max_charge=int(limit) or None, fault=fault))


def _subject(query: _Query) -> Asked:
    """The reference, the product and the number; ST24 puts its counter before the number."""
    number, counter = query.get("tujuan", ""), query.get("counter", "")
    before, dot, rest = number.partition(".")
    if dot and _COUNTER.fullmatch(before):
        number, counter = rest, before
    again = _COUNTER.fullmatch(counter) is not None and int(counter) > 1
    return Asked(query.get("idtrx", ""), query.get("kodeproduk", ""), number, allow_repeat=again)


def _refusal(query: _Query, problem: Problem) -> str:
    """A refusal at the door. Only what can stand in a sentence is repeated."""
    asked = _subject(query)
    reason = _REASONS.get(problem.code)
    if not can_be_said(asked):
        return f"GAGAL, {reason}." if reason else BUSY
    if reason is None:
        return irs.sentence(asked.told(State.PENDING, problem.code))
    subject = f"TRX {asked.sku}.{asked.customer_number}"
    return f"{subject} GAGAL, {reason}. SISA SALDO - CLIENTID={asked.ref_id}."
