"""`jalur numbering`: the weakest hint at a cluster, by how a number begins."""

from typing import Annotated

import typer

from app.administration import catalogue
from app.administration.sheets import read_sheet
from app.cli.terminal import File, Json, Reason, act, look, read_file, tell
from app.storage import reference
from schemas.admin.catalogue import PutLines

numbering_app = typer.Typer(
    help="Clusters by how numbers begin, for orders that name neither region nor known outlet.",
    no_args_is_help=True,
)


@numbering_app.command("import")
def import_command(file: File, reason: Reason = "", as_json: Json = False) -> None:
    """Add or replace prefixes out of a sheet: prefix,cluster. The longest of a number wins."""
    rows = read_sheet(read_file(file), catalogue.NUMBERING_COLUMNS, catalogue.numbering_of)
    tally = act(lambda pool, by: catalogue.put_numbering(pool, by, rows, reason))
    told = f"{tally.given} prefixes read, {tally.changed} of them new or changed."
    tell(PutLines.of(tally), [told], as_json=as_json)


@numbering_app.command("list")
def list_command(as_json: Json = False) -> None:
    """All prefixes with their clusters."""
    found = look(reference.numbering)
    shown = {"numbering": [{"prefix": prefix, "cluster": cluster} for prefix, cluster in found]}
    lines = [f"{prefix}  {cluster}" for prefix, cluster in found]
    tell(shown, lines or ["There are none; none are needed."], as_json=as_json)


@numbering_app.command("remove")
def remove_command(
    prefix: Annotated[str, typer.Argument(help="One of `jalur numbering list`.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Tell no cluster by this prefix any more."""
    act(lambda pool, by: catalogue.remove_numbering(pool, by, prefix, reason))
    tell({"removed": prefix}, [f"{prefix} tells no cluster any more."], as_json=as_json)
