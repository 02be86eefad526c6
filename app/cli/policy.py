"""`jalur routes policy`: the shop's rules for choosing a dealer."""

import json
from typing import Annotated, Any

import typer

from app.administration import policy
from app.administration.policy import Changed
from app.cli.terminal import Json, Reason, act, print_json, read_file, show_table
from app.errors import ConfigurationError

policy_app = typer.Typer(help="The rules that dealers are chosen by.", no_args_is_help=True)


@policy_app.command("show")
def show_command(as_json: Json = False) -> None:
    """Every setting in force with its default and its unit."""
    standing = act(policy.show)
    if as_json:
        print_json(standing.document())
        return
    rows = [
        (each.name, _text(each.value), _text(each.default), each.unit or "no such setting")
        for each in standing.settings
    ]
    show_table(("setting", "in force", "default", "unit"), rows)
    typer.echo(f"Revision {standing.revision}. Next: jalur routes policy set --set NAME=VALUE")


@policy_app.command("set")
def set_command(
    file: Annotated[
        str | None,
        typer.Argument(help="JSON, the whole policy; what it leaves out is default. - is stdin."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE of one setting, in JSON; null is its default."),
    ] = None,
    expect_revision: Annotated[
        int | None, typer.Option(min=0, help="Only while this revision is in force.")
    ] = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Change the policy; refused as a whole where one setting is wrong."""
    if (file is None) == (not set_):
        raise ConfigurationError("name a file with the whole policy, or settings with --set")
    if file is not None:
        whole = _from_file(file)
        done = act(lambda pool, by: policy.replace(pool, by, whole, reason, expect_revision))
    else:
        values = dict(_pair(each) for each in set_ or ())
        done = act(lambda pool, by: policy.set_values(pool, by, values, reason, expect_revision))
    if as_json:
        print_json(done.document())
    else:
        _tell(done)


def _tell(done: Changed) -> None:
    for name, (before, after) in done.changes.items():
        typer.echo(f"  {name}: {_text(before)} → {_text(after)}")
    typer.echo(
        f"Revision {done.standing.revision} is in force; running processes take it up within a "
        "second."
        if done.changes
        else "Nothing changed."
    )


def _from_file(path: str) -> dict[str, Any]:
    try:
        whole = json.loads(read_file(path))
    except ValueError as error:
        raise ConfigurationError(f"{path} is no JSON: {error}") from error
    if not isinstance(whole, dict):
        raise ConfigurationError(f"{path} must hold one JSON object of settings")
    return whole  # pyright: ignore[reportUnknownVariableType]


def _pair(text: str) -> tuple[str, Any]:
    """A setting as it was typed; a value that is no JSON is text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigurationError(f"--set must be NAME=VALUE, not {text}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
