"""Operators' commands on a database: migrate, hold and resume, verify the ledger."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from app.administration import installation
from app.cli.terminal import Json, Reason, act, database_url, print_json, tell, with_connection
from app.storage import statements
from app.storage.migrate import migrate
from app.storage.statements import Discrepancy

ledger_app = typer.Typer(help="The ledger.", no_args_is_help=True)


def migrate_command(as_json: Json = False) -> None:
    """Bring the database to the newest revision; DATABASE_URL must be its owner's."""
    done = asyncio.run(migrate(database_url()))
    if as_json:
        print_json(asdict(done))
    elif done.before == done.after:
        typer.echo(f"The database is at revision {done.after} already.")
    elif done.before is None:
        typer.echo(f"Migrated from nothing to {done.after}. Next: jalur products import FILE")
    else:
        typer.echo(f"Migrated from {done.before} to {done.after}. Next: jalur serve")


def hold_command(reason: Reason = "", as_json: Json = False) -> None:
    """Hold purchases and checks, before a restore for example; orders are still accepted."""
    held = act(lambda pool, by: installation.hold(pool, by, reason))
    told = "Purchases and checks hold." if held else "There is a hold already."
    tell({"held": held}, [told, "`jalur resume --reconciled` ends it."], as_json=as_json)


def resume_command(
    reconciled: Annotated[
        bool,
        typer.Option("--reconciled", help="Every dealer's book was held against this database."),
    ] = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """End the hold after a restore or a failover."""
    resumed = act(lambda pool, by: installation.resume(pool, by, reason, reconciled=reconciled))
    told = "Purchases and checks go on." if resumed else "There was no hold."
    tell({"resumed": resumed}, [told], as_json=as_json)


@ledger_app.command("verify")
def verify_command(as_json: Json = False) -> None:
    """Prove in SQL that entries add up to balances and orders agree with them; 1 if they do not."""
    found = asyncio.run(with_connection(statements.verify))
    if as_json:
        print_json({"ok": not found, "discrepancies": [asdict(each) for each in found]})
    else:
        _print_findings(found)
    if found:
        raise typer.Exit(1)


def _print_findings(found: list[Discrepancy]) -> None:
    if not found:
        typer.echo("The ledger adds up.")
    for each in found:
        typer.echo(f"{each.check}: {each.count} rows")
        for example in each.examples:
            typer.echo(f"  {example}")
