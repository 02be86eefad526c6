"""Operators' commands on a database: migrate, resume after a restore, verify the ledger."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from app.cli.terminal import Json, database_url, print_json, with_connection
from app.errors import ConfigurationError
from app.storage import installation, statements
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
    else:
        typer.echo(f"Migrated from {done.before or 'nothing'} to {done.after}. Next: jalur serve")


def resume_command(
    reconciled: Annotated[
        bool,
        typer.Option("--reconciled", help="Every dealer's book was held against this database."),
    ] = False,
    as_json: Json = False,
) -> None:
    """End the hold after a restore or a failover."""
    if not reconciled:
        raise ConfigurationError(
            "after a restore, what this database calls unsent may have been bought: compare it "
            "with the dealers' statements first, then run `jalur resume --reconciled`"
        )
    ended = asyncio.run(with_connection(installation.resume))
    if as_json:
        print_json({"resumed": ended})
    else:
        typer.echo("Purchases and checks go on." if ended else "There was no hold.")


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
