"""`jalur simulator`: the dealer simulator alone, for resellers' and dealers' developers."""

from pathlib import Path
from typing import Annotated

import typer

from app.errors import ConfigurationError
from dealers.simulator.config import ConfigError
from dealers.simulator.server import run


def simulator_command(
    config: Annotated[Path, typer.Option(help="JSON: the dealers to be, their prices, the waits.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 6969,
    state_dir: Annotated[
        Path | None, typer.Option(help="Where the book is kept; in memory without it.")
    ] = None,
) -> None:
    """Run dealers that misbehave on demand, on 127.0.0.1."""
    try:
        run(config, port, state_dir)
    except ConfigError as error:
        raise ConfigurationError(str(error)) from error
