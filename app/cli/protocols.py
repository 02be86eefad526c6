"""`jalur dealers protocols`: what dealers may speak, and what an account of each consists of."""

from typing import Annotated

import typer

from app.cli.terminal import Json, tell
from app.errors import ConfigurationError
from dealers.contract import Capabilities, Recovery, Setting
from dealers.registry import Dialect, load

_RECOVERY = {
    Recovery.STATUS_CALL: "asked by a status call",
    Recovery.SAME_REF_IS_STATUS: "asked by sending the same reference again",
    Recovery.NONE: "cannot be asked",
}
_BY_ACCOUNT = "what it can do, and its credentials, are said by the account's options"


def protocols_command(
    protocol: Annotated[str | None, typer.Argument(help="One of them; else all.")] = None,
    as_json: Json = False,
) -> None:
    """What dealers may speak: settings, and what each protocol can do."""
    known = load()
    if protocol is not None and protocol not in known:
        raise ConfigurationError(f"no protocol is called {protocol}; there are {', '.join(known)}")
    chosen = [dialect for name, dialect in known.items() if protocol in (None, name)]
    lines = [line for dialect in chosen for line in _lines(dialect)]
    tell({"protocols": [_document(dialect) for dialect in chosen]}, lines, as_json=as_json)


def _document(dialect: Dialect) -> dict[str, object]:
    declared = dialect.capabilities
    return {
        "name": dialect.name,
        "varies_by_account": dialect.varies_by_account,
        "credentials": [_setting(each) for each in dialect.credentials],
        "options": [_setting(each) for each in dialect.options],
        "recovery": declared.recovery,
        "absent_after_seconds": declared.absent_after_seconds,
        "max_age_seconds": declared.max_age_seconds,
        "min_check_interval_seconds": declared.min_check_interval_seconds,
        "check_schedule": declared.check_schedule,
        "requests_per_second": declared.requests_per_second,
        "price_list_interval_seconds": declared.price_list_interval_seconds,
        "callback_is_word": declared.callback_is_word,
        "longest_reference": declared.reference.max_length,
    }


def _setting(setting: Setting) -> dict[str, object]:
    return {"name": setting.name, "meaning": setting.meaning, "required": setting.required}


def _lines(dialect: Dialect) -> list[str]:
    can = _BY_ACCOUNT if dialect.varies_by_account else _abilities(dialect.capabilities)
    lines = [dialect.name, f"  {can}"]
    lines += [f"  credential {_told(each)}" for each in dialect.credentials]
    return [*lines, *(f"  option {_told(each)}" for each in dialect.protocol.OPTIONS), ""]


def _abilities(declared: Capabilities) -> str:
    callbacks = (
        "its callbacks are words" if declared.callback_is_word else "its callbacks are hints"
    )
    return f"{_RECOVERY[declared.recovery]}; {callbacks}"


def _told(setting: Setting) -> str:
    return f"{setting.name}: {setting.meaning}{'' if setting.required else ' (may be left out)'}"
