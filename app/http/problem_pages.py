"""Where a problem's `type` leads: what happened, what to do, whether sending again is safe.

As a page for browsers, as Markdown or as JSON, by the request's `Accept`.
"""

import re
from collections.abc import Sequence
from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response

from app.errors import NotFound
from app.http.answers import json_answer
from app.http.html import digest, page_headers
from schemas.problem_advice import ADVICE
from schemas.problems import CATALOGUE, ProblemCatalogue, ProblemExplained

routes = APIRouter(prefix="/problems", tags=["problems"])

_JSON, _HTML, _MARKDOWN = "application/json", "text/html", "text/markdown"
_ANY = {"*/*": _JSON, "application/*": _JSON, "text/*": _HTML}
_MOST_CHOICES = 20
_CODE = re.compile(r"`([^`]*)`")
_STYLE = """
body { font: 1.05rem/1.6 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto;
  padding: 0 1rem; color: #1d2733; background: #fff; }
h1 { font-size: 1.5rem; } dt { font-weight: 600; margin-top: 1rem; } dd { margin: 0; }
code { background: #eef1f5; border-radius: .25rem; padding: .1rem .3rem; } a { color: #0b57a4; }
@media (prefers-color-scheme: dark) { body { color: #dde4ec; background: #14191f; }
  code { background: #262e38; } a { color: #7ab8ff; } }
"""
_POLICY = f"style-src '{digest(_STYLE)}'; "
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
_QUESTIONS = (
    ("What happened", "meaning"),
    ("What to do", "do"),
    ("The same request again", "retry"),
    ("The order's ref_id", "ref_id"),
)

Accept = Annotated[str | None, Header(include_in_schema=False, max_length=2000)]
_TEXTS: dict[str, Any] = {_HTML: {}, _MARKDOWN: {}}


@routes.get(
    "",
    response_model=None,
    responses={200: {"model": ProblemCatalogue, "content": _TEXTS}},
)
async def list_problems(accept: Accept = None) -> Response:
    """Every code that there is, as JSON, a page or Markdown, by `Accept`."""
    chosen = _chosen(accept)
    explained = [_explained(code) for code in CATALOGUE]
    if chosen == _JSON:
        return json_answer({"data": explained}, headers={"vary": "accept"})
    if chosen == _MARKDOWN:
        return _text(_MARKDOWN, catalogue_markdown())
    links = "".join(
        f'<dt><a href="/problems/{each["code"]}">{each["code"]}</a> {_statuses(each)}</dt>'
        f"<dd>{_marked(each['meaning'])}</dd>"
        for each in explained
    )
    return _page("Problems", f"<h1>Problems</h1><dl>{links}</dl>")


@routes.get(
    "/{code}",
    response_model=None,
    responses={200: {"model": ProblemExplained, "content": _TEXTS}},
)
async def read_problem(code: str, accept: Accept = None) -> Response:
    """What a problem's `type` stands for, as JSON, a page or Markdown, by `Accept`."""
    if code not in CATALOGUE:
        raise NotFound("not-found", "There is no such problem.")
    chosen, explained = _chosen(accept), _explained(code)
    if chosen == _JSON:
        return json_answer(explained, headers={"vary": "accept"})
    if chosen == _MARKDOWN:
        return _text(_MARKDOWN, _markdown(explained))
    answers = "".join(
        f"<dt>{question}</dt><dd>{_marked(explained[field])}</dd>" for question, field in _QUESTIONS
    )
    body = (
        f"<h1><code>{code}</code> {_statuses(explained)}</h1><dl>{answers}</dl>"
        '<p><a href="/problems">All problems</a></p>'
    )
    return _page(code, body)


def catalogue_markdown() -> str:
    """The whole catalogue, as `docs/problems.md` has it."""
    head = (
        "# Problems\n\nEvery refusal carries one of these codes, and its `type` leads to "
        "`/problems/<code>` on the\nservice itself. A code never changes its meaning.\n"
    )
    return "\n".join([head, *(_markdown(_explained(code), "##") for code in CATALOGUE)])


def _explained(code: str) -> dict[str, Any]:
    advice = ADVICE[code]
    return {
        "code": code,
        "meaning": CATALOGUE[code],
        "statuses": advice.statuses,
        "do": advice.do,
        "retry": advice.retry,
        "ref_id": advice.reference,
    }


def _markdown(explained: dict[str, Any], mark: str = "#") -> str:
    answers = "".join(f"- {question}: {explained[field]}\n" for question, field in _QUESTIONS)
    return f"{mark} {explained['code']}\n\nHTTP {_statuses(explained)}\n\n{answers}"


def _statuses(explained: dict[str, Any]) -> str:
    return ", ".join(map(str, explained["statuses"]))


def _marked(text: str) -> str:
    """Plain text with `code` in it as HTML."""
    return _CODE.sub(r"<code>\1</code>", escape(text, quote=False))


def _page(title: str, body: str) -> Response:
    content = _PAGE.format(title=escape(title), style=_STYLE, body=body)
    return _text(_HTML, content, page_headers(_POLICY))


def _text(media_type: str, content: str, headers: dict[str, str] | None = None) -> Response:
    return Response(content, headers={**(headers or {}), "vary": "accept"}, media_type=media_type)


# ------------------------------------------------------------------ choosing


def _chosen(accept: str | None) -> str:
    """The kind of answer that the caller would rather have; JSON where it does not say."""
    best, best_weight = _JSON, 0.0
    for part in (accept or "").split(",")[:_MOST_CHOICES]:
        name, *parameters = (each.strip().lower() for each in part.split(";"))
        offered = _ANY.get(name, name)
        weight = _weight(parameters)
        if offered in (_JSON, _HTML, _MARKDOWN) and weight > best_weight:
            best, best_weight = offered, weight
    return best


def _weight(parameters: Sequence[str]) -> float:
    for each in parameters:
        name, _, value = each.partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
