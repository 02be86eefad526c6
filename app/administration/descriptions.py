"""Descriptions of dealers, before they are saved: what is wrong, and what would be sent.

Nothing is called, stored or changed, and no database is needed.
"""

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from app.errors import ConfigurationError
from dealers.contract import Account, Capabilities, Request, Setting, TopUp
from dealers.declarative.faults import CannotRender, DescriptionRefused
from dealers.declarative.loading import compile_description
from dealers.declarative.sample import SAMPLE_ORDER

SAMPLE_ADDRESS = "https://dealer.example"
PROTOCOL = "declarative"


@dataclass(frozen=True, slots=True)
class Trial:
    """A description as it was tried; everything but the faults is empty where there are any."""

    faults: tuple[str, ...]
    account: Account
    order: TopUp
    requests: Mapping[str, Request]
    """By kind, without the secrets, as they would be sent for `order`."""
    capabilities: Capabilities | None = None


def description_text(path: str, content: bytes) -> str:
    """A description file as the text to save: JSON on one line. TOML is known by its ending.

    Raises ConfigurationError.
    """
    try:
        if path.endswith(".toml"):
            document = tomllib.loads(content.decode())
        else:
            document = json.loads(content)
        return json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError) as error:
        wanted = "TOML" if path.endswith(".toml") else "JSON (name a TOML file .toml)"
        raise ConfigurationError(f"{path} is not {wanted}: {error}") from None


def try_description(
    text: str,
    credentials: Mapping[str, str],
    options: Mapping[str, str],
    base_url: str = SAMPLE_ADDRESS,
    order: TopUp = SAMPLE_ORDER,
) -> Trial:
    """Compile a description and make its requests for a sample order.

    What is required and not given stands in by its own name, so that signatures can be made.
    """
    account = Account("sample", base_url, credentials, {**options, "description": text})
    try:
        compiled = compile_description(text)
    except DescriptionRefused as refusal:
        return Trial(tuple(refusal.faults), account, order, {})
    account = replace(
        account,
        credentials={**_stand_ins(compiled.credentials), **credentials},
        options={**_stand_ins(compiled.options), **account.options},
    )
    faults = compiled.try_out(account)
    if faults:
        return Trial(tuple(faults), account, order, {})
    longest = compiled.capabilities.reference.max_length
    order = replace(order, dealer_ref=order.dealer_ref[:longest])
    try:
        requests = {kind: compiled.masked(kind, account, order) for kind in compiled.requests}
    except CannotRender as error:
        return Trial((str(error),), account, order, {})
    return Trial((), account, order, requests, compiled.capabilities)


def _stand_ins(settings: Iterable[Setting]) -> dict[str, str]:
    return {setting.name: setting.name for setting in settings if setting.required}
