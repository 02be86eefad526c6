"""Accounts of described dealers, and descriptions changed at one place."""

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

from dealers.contract import Account
from dealers.registry import load
from tests.dealers.recorded import account

DECLARATIVE = load()["declarative"]
DESCRIPTIONS = Path(__file__).parents[3] / "dealers" / "descriptions"


def document(name: str) -> dict[str, Any]:
    """A shipped description."""
    return tomllib.loads((DESCRIPTIONS / f"{name}.toml").read_text())


def described(as_account_of: str, name: str | None = None) -> Account:
    """The recorded account of a protocol, its dealer described instead."""
    recorded = account(as_account_of)
    text = json.dumps(document(name or as_account_of))
    return Account("d1", recorded.base_url, recorded.credentials, {"description": text})


def changed(document: dict[str, Any], place: str, value: object) -> dict[str, Any]:
    """The document with another value at `place`, a dotted path; None takes it away."""
    other: Any = copy.deepcopy(document)
    *path, last = place.split(".")
    inside = other
    for step in path:
        inside = inside[int(step)] if isinstance(inside, list) else inside.setdefault(step, {})
    if isinstance(inside, list):
        inside[int(last)] = value
    elif value is None:
        del inside[last]
    else:
        inside[last] = value
    return other


def faults(document: dict[str, Any], **credentials: str) -> list[str]:
    """What is wrong with an account of this description."""
    given = dict.fromkeys(document.get("credentials", {}), "x") | credentials
    options = {"description": json.dumps(document)}
    return DECLARATIVE.validate(Account("d1", "https://dealer.example", given, options))
