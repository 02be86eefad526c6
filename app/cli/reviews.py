"""Operators' commands on what only people can decide: reviews and disputes.

A decision is settled by this process itself, on the database; no service has to run. What the
reseller is told of it is sent by the service, as ever.
"""

import asyncio
import sys
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer

from app import logs
from app.administration.reviews import (
    Outcome,
    close_dispute,
    list_disputes,
    list_reviews,
    resolve_review,
)
from app.cli.serve import engine_settings
from app.cli.terminal import Json, Reason, operator, print_json, with_pool
from app.errors import ConfigurationError, JalurError
from app.lifecycle.route import Router
from app.metrics import Metrics
from app.settings import read_settings
from app.words import Said
from app.workers.engine import Engine, start_engine

review_app = typer.Typer(help="The review queue.", no_args_is_help=True)
disputes_app = typer.Typer(help="Disputes with dealers.", no_args_is_help=True)

Most = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at most.")]
OrderId = Annotated[UUID, typer.Argument(metavar="ORDER", help="The order's id.")]
AttemptNo = Annotated[int, typer.Argument(metavar="ATTEMPT", min=1, max=32767)]


@review_app.command("list")
def list_reviews_command(limit: Most = 100, as_json: Json = False) -> None:
    """What people must look at, the oldest first."""
    found = asyncio.run(with_pool(lambda pool: list_reviews(pool, operator(), limit)))
    if as_json:
        print_json({"reviews": [asdict(each) for each in found]})
        return
    for each in found:
        typer.echo(
            f"{each.opened_at:%Y-%m-%d %H:%M:%S} {each.reason}: order {each.order_id}, attempt "
            f"{each.attempt_no} at {each.dealer_id} as {each.dealer_ref}, {each.price} rupiah"
        )
    if found:
        typer.echo(
            "Next: ask the dealer, then `jalur review resolve ORDER ATTEMPT WORD --reason …`"
        )
    else:
        typer.echo("The review queue is empty.")


@review_app.command("resolve")
def resolve_command(
    order: OrderId,
    attempt: AttemptNo,
    word: Annotated[Said, typer.Argument(metavar="WORD", help="What became of the purchase.")],
    reason: Reason,
    serial_number: Annotated[
        str | None, typer.Option("--serial-number", help="The dealer's, where it succeeded.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Decide about a purchase in review, as if its dealer had said it; the same again is safe."""
    outcome = asyncio.run(_resolve(order, attempt, word, reason, serial_number))
    if as_json:
        print_json(outcome.document())
        return
    done = "It was decided so before" if outcome.decided_before else "Decided"
    stands = outcome.stands
    typer.echo(
        f"{done}: {word}. Attempt {attempt} is {stands.attempt_state}, the order is "
        f"{stands.order_status}."
    )


async def _resolve(
    order: UUID, attempt: int, word: Said, reason: str, serial_number: str | None
) -> Outcome:
    """Settle on an engine of our own that does nothing else."""
    settings = read_settings()
    logs.configure(settings.log_format, "error", sys.stderr)
    engine = await start_engine(engine_settings(settings), Metrics())
    try:
        _refuse_foreign_key(engine.router)
        return await _settling(engine, order, attempt, word, reason, serial_number)
    finally:
        await engine.close()


async def _settling(
    engine: Engine, order: UUID, attempt: int, word: Said, reason: str, serial_number: str | None
) -> Outcome:
    batches = engine.settler.batches
    decided: Outcome | JalurError
    async with asyncio.TaskGroup() as group:
        group.create_task(batches.run())
        try:
            decided = await resolve_review(
                engine.pool, engine.settler, operator(), order, attempt, word, reason, serial_number
            )
        except JalurError as error:
            decided = error
        finally:
            batches.close()
    if isinstance(decided, JalurError):
        raise decided
    return decided


def _refuse_foreign_key(router: Router) -> None:
    """Without a dealer to choose, a failed purchase would end an order that another could serve."""
    trade = router.trade
    if trade.left_out and not trade.dealers:
        raise ConfigurationError(
            "no dealer can be called as configured; is JALUR_SECRET_KEY the service's? The first: "
            + trade.faults[0]
        )


@disputes_app.command("list")
def list_disputes_command(limit: Most = 100, as_json: Json = False) -> None:
    """Purchases that a dealer delivered although another one serves, the oldest first."""
    found = asyncio.run(with_pool(lambda pool: list_disputes(pool, operator(), limit)))
    if as_json:
        print_json({"disputes": [asdict(each) for each in found]})
        return
    for each in found:
        typer.echo(
            f"{each.opened_at:%Y-%m-%d %H:%M:%S} order {each.order_id}, attempt {each.attempt_no} "
            f"at {each.dealer_id} as {each.dealer_ref}, {each.cost} rupiah"
        )
    if found:
        typer.echo("Next: settle with the dealer, then `jalur disputes close ORDER ATTEMPT …`")
    else:
        typer.echo("There are no open disputes.")


@disputes_app.command("close")
def close_dispute_command(
    order: OrderId,
    attempt: AttemptNo,
    resolution: Annotated[str, typer.Option("--resolution", help="How it ended.")],
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Close a dispute; no money moves."""
    closed = asyncio.run(
        with_pool(lambda pool: close_dispute(pool, operator(), order, attempt, resolution, reason))
    )
    if as_json:
        print_json({"closed": closed})
    else:
        typer.echo("Closed." if closed else "It was closed just so before.")
