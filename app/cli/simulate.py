"""`jalur simulator`, `jalur receiver`: the demo's stand-ins alone, for trying a shop out."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli import receiver
from app.errors import ConfigurationError
from dealers.simulator.config import Config, ConfigError, read_config
from dealers.simulator.server import run
from dealers.simulator.standalone import sandbox, standalone

Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")]


def simulator_command(
    config: Annotated[
        Path | None,
        typer.Option(help="JSON: the dealers to be; without it, one of every protocol."),
    ] = None,
    port: Port = 6969,
    state_dir: Annotated[
        Path | None, typer.Option(help="Where the book is kept; in memory without it.")
    ] = None,
    callbacks: Annotated[
        str,
        typer.Option(
            help="Without --config: where dealers call back, such as "
            "http://127.0.0.1:8080/v1/callbacks/{dealer}/TOKEN."
        ),
    ] = "",
) -> None:
    """Run dealers that misbehave on demand, on 127.0.0.1.

    The last two digits of a customer's number choose what a dealer does: GET /behaviours lists it,
    GET /dealers shows each dealer's path, account and prices.
    """
    try:
        run(read_config(config) if config else _all_and_sandbox(callbacks), port, state_dir)
    except ConfigError as error:
        raise ConfigurationError(str(error)) from error
    except OSError as error:
        raise _cannot_start(port, error) from error


def _all_and_sandbox(callbacks: str) -> Config:
    return Config((*standalone(callbacks).dealers, sandbox()))


def receiver_command(
    port: Port = 8090,
    state_dir: Annotated[
        Path, typer.Option(help="Where it keeps what it received, and the secrets it trusts.")
    ] = Path("webhooks"),
) -> None:
    """Receive webhooks as a reseller's program would, on 127.0.0.1.

    POST /hooks takes them, PUT /secret says which secret signs them, GET /received lists those
    whose signature was right.
    """
    try:
        receiver.run(port, state_dir)
    except OSError as error:
        raise _cannot_start(port, error) from error


def _cannot_start(port: int, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"cannot start: {error}; where port {port} is taken, choose another with --port"
    )
