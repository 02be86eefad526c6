"""The guide's links lead somewhere, and what it says of refusals is in the catalogue."""

import json
import re
from pathlib import Path

import pytest

from schemas.problems import CATALOGUE

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [*sorted((DOCS / "guide").glob("*.md")), *sorted((DOCS / "examples").rglob("*.md"))]


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), target


def test_every_page_is_in_the_list() -> None:
    contents = (DOCS / "guide" / "README.md").read_text()
    for page in (DOCS / "guide").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in contents


def test_the_problem_shown_is_one_of_ours() -> None:
    shown = re.search(
        r"^    (\{\"type\".*?\})$", (DOCS / "guide" / "errors.md").read_text(), re.S | re.M
    )
    assert shown is not None
    assert json.loads(shown[1])["code"] in CATALOGUE
