"""`jalur sandbox`: the test side, where test keys reach a simulator and nothing else."""

from typing import Annotated, Any, cast

import httpx
import typer

from app.administration import dealers, documents
from app.administration.dealers import Edit, NewDealer, callback_path
from app.administration.operator import Operator
from app.cli.dealers import dealer_limits
from app.cli.terminal import Json, Reason, act, tell
from app.errors import ConfigurationError, Conflict, NotFound
from app.settings import read_settings
from app.storage.pool import Pool
from app.storage.reference import DealerRow

sandbox_app = typer.Typer(help="The test side: a simulator for test keys.", no_args_is_help=True)

_DEALER = "sandbox"
_OPTIONS = {
    "check_interval_seconds": "1",
    "check_schedule": "30x1,60x5,30",
    # Play money: the simulator lends as much as is asked for.
    "float_reserve": "-100000000000000",
}
_TIMEOUT_SECONDS = 12.0
"""Below the 15 s of the simulator's late answer, so that a time-out can be tried."""
_LOOK_SECONDS = 5.0


@sandbox_app.command("setup")
def setup_command(
    stall: Annotated[
        str, typer.Option(help="The simulated dealer to use; it must sell every SKU.")
    ] = _DEALER,
    callbacks: Annotated[
        str | None,
        typer.Option(help="Where the simulator reaches the service; JALUR_PORT here otherwise."),
    ] = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Put the simulator at JALUR_SIMULATOR_URL behind test keys; again mends what has changed.

    It sells every product there is, also later ones: no routes are needed.
    """
    settings = read_settings()
    url = settings.simulator_url
    if url is None:
        raise ConfigurationError(
            "JALUR_SIMULATOR_URL is missing: where `jalur simulator` runs, such as "
            "http://127.0.0.1:6969; the service needs it too"
        )
    found = _look(url.rstrip("/"), stall)
    service = (callbacks or f"http://127.0.0.1:{settings.port}").rstrip("/")
    row = act(lambda pool, by: _put(pool, by, found, service, reason))
    lines = [
        f"Test keys buy every product at {row.base_url}.",
        "Next: jalur keys add RESELLER --mode test",
    ]
    tell(documents.dealer(row), lines, as_json=as_json)


def _look(url: str, stall: str) -> NewDealer:
    """The simulated dealer as one to add. Raises ConfigurationError."""
    try:
        answer = httpx.get(f"{url}/dealers", timeout=_LOOK_SECONDS, trust_env=False)
        offers = cast(list[dict[str, Any]], answer.raise_for_status().json())
        offer = next((each for each in offers if each["dealer_id"] == stall), None)
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"there is no simulator at {url}: {error}") from error
    if offer is None or offer.get("any_price") is None:
        raise ConfigurationError(
            f"the simulator at {url} has no dealer {stall} with an any_price; "
            "`jalur simulator` without a configuration has one called sandbox"
        )
    return NewDealer(
        _DEALER,
        "Sandbox",
        _DEALER,
        offer["protocol"],
        url + offer["path"],
        offer["credentials"],
        _OPTIONS,
        timeout_seconds=_TIMEOUT_SECONDS,
        connect_timeout_seconds=2.0,
        test=True,
    )


async def _put(pool: Pool, by: Operator, new: NewDealer, service: str, reason: str) -> DealerRow:
    """Add the dealer, or change the one that stands. Raises Conflict where that one is real."""
    try:
        async with pool.acquire() as connection:
            standing = await dealers.find(connection, new.dealer_id)
    except NotFound:
        standing = await dealers.add(pool, by, new, dealer_limits(), reason)
    if not standing.test:
        raise Conflict("dealer-exists", f"There is a real dealer {new.dealer_id} already.")
    edit = Edit(
        protocol=new.protocol,
        base_url=new.base_url,
        credentials=new.credentials,
        replace_credentials=True,
        options={**new.options, "callback_url": service + callback_path(standing)},
    )
    return (await dealers.change(pool, by, new.dealer_id, edit, dealer_limits(), reason)).dealer
