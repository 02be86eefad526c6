"""`jalur audit`: what operators did."""

import json
from typing import Annotated

import typer

from app.administration import documents
from app.administration.checks import Checks
from app.cli.terminal import Json, look, tell
from app.storage import audit
from app.storage.audit import Line

audit_app = typer.Typer(help="The audit log: what operators did.", no_args_is_help=True)


@audit_app.command("list")
def list_command(
    subject: Annotated[
        str | None, typer.Option(help="Of this only, such as dealer:nusantara or reseller:ID.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 50,
    as_json: Json = False,
) -> None:
    """What was done, the newest first: who, from where, what it was before and is after, why."""
    checks = Checks()
    checks.text("subject", subject or "", least=0)
    checks.done()
    found = look(lambda connection: audit.list_lines(connection, subject, None, limit))
    lines = [told for line in found for told in _lines(line)]
    shown = {"audit": [documents.audit_line(line) for line in found]}
    tell(shown, lines or ["Nothing was done yet."], as_json=as_json)


def _lines(line: Line) -> list[str]:
    act = line.act
    told = [
        f"{line.acted_at:%Y-%m-%d %H:%M:%S} {act.action} {act.subject} by {act.operator} "
        f"from {act.origin or 'nowhere'}{': ' + act.reason if act.reason else ''}"
    ]
    for name, document in (("before", act.before), ("after", act.after)):
        if document:
            told.append(f"    {name} {json.dumps(document)}")
    return told
