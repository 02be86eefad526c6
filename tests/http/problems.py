"""What every refusal must look like."""

from typing import Any

import httpx

from schemas.problems import CATALOGUE, MEDIA_TYPE


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert problem["type"] == f"/problems/{code}"
    assert problem["trace_id"] == answer.headers["x-request-id"]
    assert code in CATALOGUE
    for word in ("Traceback", "pydantic", "asyncpg", "Error"):
        assert word not in answer.text
    return problem
