"""`jalur regions`: where outlets stand, and which dealers may serve there."""

import typer

from app.administration import catalogue
from app.administration.sheets import read_sheet
from app.cli.terminal import File, Json, Reason, act, look, read_file, tell
from app.storage import reference
from schemas.admin.catalogue import PutLines

regions_app = typer.Typer(
    help="Regions, and the clusters (dealers' selling areas) they lie in.", no_args_is_help=True
)


@regions_app.command("import")
def import_command(file: File, reason: Reason = "", as_json: Json = False) -> None:
    """Add or replace regions out of a sheet: region,cluster."""
    rows = read_sheet(read_file(file), catalogue.REGION_COLUMNS, catalogue.region_of)
    tally = act(lambda pool, by: catalogue.put_regions(pool, by, rows, reason))
    told = f"{tally.given} regions read, {tally.changed} of them new or changed."
    tell(PutLines.of(tally), [told], as_json=as_json)


@regions_app.command("list")
def list_command(as_json: Json = False) -> None:
    """All regions with their clusters."""
    found = look(reference.regions)
    shown = {"regions": [{"region": region, "cluster": cluster} for region, cluster in found]}
    lines = [f"{region}  {cluster}" for region, cluster in found]
    tell(shown, lines or ["There are no regions; none are needed."], as_json=as_json)
