"""Every refusal leads to a page that says what to do, for browsers and for programs."""

import ast
from collections.abc import Iterator
from pathlib import Path

import httpx

import app.errors as tree
from app.errors import Problem
from app.http.problem_pages import catalogue_markdown
from schemas.problem_advice import ADVICE, Reference, Retry
from schemas.problems import CATALOGUE
from tests.http.problems import assert_problem
from tests.http.shop import Customer, Shop

ROOT = Path(__file__).parents[2]
KINDS = {kind.__name__: kind for kind in (Problem, *Problem.__subclasses__())}
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def raised() -> Iterator[tuple[str, int]]:
    """Every code that the program raises by name, with its status."""
    for file in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                code, kind = node.args[0], KINDS.get(node.func.id)
                if kind and isinstance(code, ast.Constant):
                    yield str(code.value), kind.status


def test_every_code_is_explained_and_has_advice_with_its_statuses() -> None:
    assert len(list(raised())) > 50
    for code, _ in raised():
        assert code in CATALOGUE, f"{code}: add it to schemas/problems.py"
    for code in CATALOGUE:
        assert code in ADVICE, f"{code}: add it to schemas/problem_advice.py"
    for code, status in raised():
        assert status in ADVICE[code].statuses, f"{code} is answered with {status}"


def test_an_order_s_refusals_tell_what_became_of_its_reference() -> None:
    for code in ("no-route", "insufficient-balance", "invalid-number", "overloaded"):
        assert ADVICE[code].reference == Reference.FREE
    assert ADVICE["idempotency-mismatch"].reference == Reference.TAKEN
    for code in ("unavailable", "internal-error"):
        assert ADVICE[code].reference == Reference.UNKNOWN
        assert ADVICE[code].retry in (Retry.SAFE, Retry.LATER)


def test_statuses_have_their_titles() -> None:
    known = {
        kind.status
        for kind in vars(tree).values()
        if isinstance(kind, type) and issubclass(kind, Problem)
    }
    for code in CATALOGUE:
        assert set(ADVICE[code].statuses) <= known, code


def test_the_written_catalogue_is_what_the_service_answers() -> None:
    written = (ROOT / "docs" / "problems.md").read_text()
    assert written == catalogue_markdown(), "write it anew: make problems"


async def test_each_code_has_a_page(untouched_shop: Shop) -> None:
    client = untouched_shop.client()
    for code, meaning in CATALOGUE.items():
        page = await client.get(f"/problems/{code}", headers={"accept": BROWSER})
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "unsafe" not in page.headers["content-security-policy"]
        for told in ("What happened", "What to do", "The same request again", "ref_id"):
            assert told in page.text
        answer = (await client.get(f"/problems/{code}")).json()
        assert (answer["code"], answer["meaning"]) == (code, meaning)


async def test_the_form_is_what_the_caller_would_rather_have(untouched_shop: Shop) -> None:
    client = untouched_shop.client()
    for accept, media_type in (
        ("", "application/json"),
        ("*/*", "application/json"),
        (BROWSER, "text/html"),
        ("text/markdown", "text/markdown"),
        ("text/html;q=0.4, application/json;q=0.5", "application/json"),
        ("text/html;q=nonsense, text/markdown;q=0.1", "text/markdown"),
        ("image/png", "application/json"),
    ):
        for path in ("/problems", "/problems/no-route"):
            answer = await client.get(path, headers={"accept": accept})
            assert answer.headers["content-type"].partition(";")[0] == media_type
            assert answer.headers["vary"] == "accept"


async def test_a_refusal_s_type_leads_to_its_page(customer: Customer) -> None:
    refused = await customer.order(customer_number="0812")
    assert_problem(refused, 422, "invalid-number")
    page: httpx.Response = await customer.http.get(refused.json()["type"])
    assert page.json()["ref_id"] == Reference.FREE


async def test_an_unknown_code_is_a_refusal_too(untouched_shop: Shop) -> None:
    answer = await untouched_shop.client().get(
        "/problems/%3Cscript%3E", headers={"accept": BROWSER}
    )
    assert_problem(answer, 404, "not-found")
