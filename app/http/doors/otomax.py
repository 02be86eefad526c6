"""The OtomaX-shaped door: signed GET requests, answered in a line of Indonesian text.

`/trx` buys, or with `check=1` only tells; a reference that is sent again tells how its order
stands. `/trx/balance` (also `/balance`) tells the balance. A caller signs, or sends its PIN and
password. Answers are always HTTP 200.
"""

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from app.errors import Problem
from app.http.api import Api, Parts
from app.http.door_holders import Secrets
from app.http.doors.buying import Asked, buy, look, spendable
from app.http.doors.callers import caller_at, same
from app.http.doors.texts import BUSY, can_be_said, query_of, sayable, text_answer
from app.http.limits import Policy
from app.http.problems import EXPECTED, problem_of
from app.shapes import otomax
from app.shapes.telling import State
from app.storage.api_keys import KeyHolder
from dealers.signs import otomax as sign_of

routes = APIRouter(prefix="/doors/otomax", include_in_schema=False)

SHAPE = "otomax"

_Query = Mapping[str, str]

_REASONS = {
    "invalid-key": otomax.WRONG_SIGNATURE,
    "forbidden": otomax.WRONG_ADDRESS,
    "invalid-request": otomax.WRONG_FORMAT,
}
"""Problems at the door; every other one is told as pending."""

_TO_URL_SAFE = str.maketrans("+/ ", "-_-")


@routes.get("/trx", response_model=None)
async def transaction(request: Request, api: Parts) -> Response:
    """Buy, or tell how an order stands."""
    query: _Query = {}
    try:
        query = query_of(request)
        asked = _asked(query)
        subject = tuple(query.get(name, "") for name in ("memberID", "product", "dest", "refID"))
        caller = await _caller(
            api, request, query, subject, "reads" if query.get("check") == "1" else "orders"
        )
        if query.get("check") == "1":
            return text_answer(await _state(api, caller, asked))
    except EXPECTED as error:
        return text_answer(_refusal(query, problem_of(error)))
    return text_answer(otomax.sentence(await buy(api, caller, asked, request.state.trace)))


@routes.get("/trx/balance", response_model=None)
@routes.get("/balance", response_model=None)
async def balance(request: Request, api: Parts) -> Response:
    """What can be ordered for now, credit included."""
    try:
        query = query_of(request)
        caller = await _caller(
            api, request, query, ("CheckBalance", query.get("memberID", "")), "reads"
        )
        return text_answer(f"Saldo {await spendable(api, caller)}")
    except EXPECTED as error:
        reason = _REASONS.get(problem_of(error).code)
        return text_answer(f"GAGAL. {reason}." if reason else BUSY)


def _asked(query: _Query) -> Asked:
    """What is ordered, with its fault. Raises BadRequest without a reference."""
    ref_id, sku, number = (query.get(name, "") for name in ("refID", "product", "dest"))
    fault = None
    if query.get("qty", "1") not in ("", "0", "1"):
        fault = "One a request: qty must be 1."
    return sayable(Asked(ref_id, sku, number, fault=fault))


async def _caller(
    api: Api, request: Request, query: _Query, subject: tuple[str, ...], policy: Policy
) -> KeyHolder:
    return await caller_at(
        api,
        request,
        SHAPE,
        query.get("memberID", ""),
        lambda secrets: _proves(query, subject, secrets),
        policy,
    )


def _proves(query: _Query, subject: tuple[str, ...], secrets: Secrets) -> bool:
    """By its signature, where there is one; else by PIN and password."""
    pin, password = secrets["pin"], secrets["password"]
    if sign := query.get("sign"):
        # Padding and the two letters that a query changes differ from client to client.
        given = sign.rstrip("=").translate(_TO_URL_SAFE)
        return same(given, sign_of(pin, password, *subject))
    right_pin = same(query.get("pin", ""), pin)
    return same(query.get("password", ""), password) and right_pin


async def _state(api: Api, caller: KeyHolder, asked: Asked) -> str:
    told = await look(api, caller, asked.ref_id)
    return f"R#{asked.ref_id} {otomax.NOT_FOUND}" if told is None else otomax.sentence(told)


def _refusal(query: _Query, problem: Problem) -> str:
    """A refusal at the door. Only what can stand in a sentence is repeated."""
    asked = Asked(query.get("refID", ""), query.get("product", ""), query.get("dest", ""))
    reason = _REASONS.get(problem.code)
    if not can_be_said(asked):
        return f"GAGAL. {reason}." if reason else BUSY
    if reason is None:
        return otomax.sentence(asked.told(State.PENDING, problem.code))
    return f"R#{asked.ref_id} {asked.sku}.{asked.customer_number} GAGAL. {reason}."
