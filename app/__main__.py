"""The command line: `jalur`, or `python -m app`. Errors that a person can mend are one line."""

import sys

import typer

from app import logs
from app.cli.audit import audit_app
from app.cli.dealer_callbacks import callbacks_command
from app.cli.dealer_words import read_command
from app.cli.dealers import dealers_app
from app.cli.demo.command import demo
from app.cli.descriptions import check_command
from app.cli.doors import doors_app
from app.cli.floats import (
    accept_command,
    balance_command,
    float_command,
    lift_command,
    risen_command,
)
from app.cli.floats import deposit_command as dealer_deposit_command
from app.cli.keys import keys_app
from app.cli.money import adjust_command, deposit_command
from app.cli.numbering import numbering_app
from app.cli.operate import hold_command, ledger_app, migrate_command, resume_command
from app.cli.operators import operators_app
from app.cli.outlets import outlets_app
from app.cli.prefixes import prefixes_app
from app.cli.prices import prices_app
from app.cli.products import products_app
from app.cli.protocols import protocols_command
from app.cli.reconcile import reconcile_command
from app.cli.regions import regions_app
from app.cli.resellers import resellers_app
from app.cli.reviews import disputes_app, review_app
from app.cli.routes import routes_app
from app.cli.sandbox import sandbox_app
from app.cli.serve import api_command, serve_command, worker_command
from app.cli.simulate import receiver_command, simulator_command
from app.errors import JalurError

cli = typer.Typer(
    name="jalur",
    help="Host-to-host router for prepaid top-ups.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cli.command("demo")(demo)
cli.command("serve")(serve_command)
cli.command("api")(api_command)
cli.command("worker")(worker_command)
cli.command("migrate")(migrate_command)
cli.command("hold")(hold_command)
cli.command("resume")(resume_command)
cli.command("deposit")(deposit_command)
cli.command("adjust")(adjust_command)
cli.command("reconcile")(reconcile_command)
cli.command("simulator")(simulator_command)
cli.command("receiver")(receiver_command)
cli.add_typer(resellers_app, name="resellers")
cli.add_typer(keys_app, name="keys")
cli.add_typer(doors_app, name="doors")
cli.add_typer(sandbox_app, name="sandbox")
cli.add_typer(products_app, name="products")
cli.add_typer(prices_app, name="prices")
cli.add_typer(regions_app, name="regions")
cli.add_typer(outlets_app, name="outlets")
cli.add_typer(numbering_app, name="numbering")
cli.add_typer(prefixes_app, name="prefixes")
dealers_app.command("check")(check_command)
dealers_app.command("read")(read_command)
dealers_app.command("protocols")(protocols_command)
dealers_app.command("callbacks")(callbacks_command)
dealers_app.command("float")(float_command)
dealers_app.command("deposit")(dealer_deposit_command)
dealers_app.command("balance")(balance_command)
dealers_app.command("accept-balance")(accept_command)
prices_app.command("risen")(risen_command)
prices_app.command("lift")(lift_command)
cli.add_typer(dealers_app, name="dealers")
cli.add_typer(operators_app, name="operators")
cli.add_typer(audit_app, name="audit")
cli.add_typer(ledger_app, name="ledger")
cli.add_typer(review_app, name="review")
cli.add_typer(disputes_app, name="disputes")
cli.add_typer(routes_app, name="routes")


def main() -> None:
    """Run the command line; exit status 2 for what the caller can mend."""
    # Unconfigured, structlog would print what a traceback's variables hold, keys among them.
    logs.configure("console", "warning", sys.stderr)
    try:
        cli()
    except JalurError as error:
        sys.stderr.write(f"jalur: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
