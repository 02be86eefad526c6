"""What operators' commands share: the database they work on, who they are, how they print."""

import asyncio
import getpass
import json
import socket
import sys
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.administration.operator import Operator
from app.errors import ConfigurationError, DatabaseUnavailable
from app.settings import read_settings
from app.storage.pool import DATABASE_ERRORS, Connection, Pool, PoolSettings, open_pool

_PIPE_WIDTH = 500

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
File = Annotated[str, typer.Argument(help="A CSV file with a header; - is standard input.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept in the audit log.")]


def database_url() -> str:
    """DATABASE_URL. Raises ConfigurationError."""
    url = read_settings().database_url
    if url is None:
        raise ConfigurationError(
            "DATABASE_URL is missing: the PostgreSQL to use, postgresql://user:password@host/name"
        )
    return url


def operator() -> Operator:
    """Who runs this command, for the audit log: the login and the machine."""
    try:
        login = getpass.getuser()
    except (KeyError, OSError):
        login = "unknown"
    return Operator(f"cli:{login}", socket.gethostname())


async def with_pool(work: Callable[[Pool], Awaitable[T]]) -> T:
    """Run `work` on a small pool, under the service's role."""
    settings = PoolSettings(database_url(), read_settings().database_role, max_size=2)
    pool = await open_pool(settings)
    try:
        return await work(pool)
    except DATABASE_ERRORS as error:
        raise DatabaseUnavailable(f"the database refused: {error}") from error
    finally:
        await pool.close()


def act(work: Callable[[Pool, Operator], Awaitable[T]]) -> T:
    """Carry out an act as whoever runs this command."""
    return asyncio.run(with_pool(lambda pool: work(pool, operator())))


def look(work: Callable[[Connection], Awaitable[T]]) -> T:
    """Read something."""
    return asyncio.run(with_connection(work))


async def with_connection(work: Callable[[Connection], Awaitable[T]]) -> T:
    """Run `work` on one connection, under the service's role."""

    async def on_pool(pool: Pool) -> T:
        async with pool.acquire() as connection:
            return await work(connection)

    return await with_pool(on_pool)


def read_file(path: str) -> bytes:
    """What a file holds; `-` is standard input. Raises ConfigurationError."""
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error


def tell(document: object, lines: Iterable[str], *, as_json: bool) -> None:
    """Print the document as JSON where that is wanted, else the lines."""
    if as_json:
        print_json(document)
    else:
        for line in lines:
            typer.echo(line)


def tell_secret(document: object, secret: str, note: str, *, as_json: bool) -> None:
    """Print the secret alone, so that `KEY=$(…)` holds just it; the note goes beside."""
    tell(document, [secret], as_json=as_json)
    if not as_json:
        typer.echo(note, err=True)


def print_json(content: object) -> None:
    """Print one JSON object on a line of its own."""
    sys.stdout.write(json.dumps(content, default=str) + "\n")


def show_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Container[str] = ()
) -> None:
    """Print a table; the columns in `numbers` stand at the right."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="right" if head in numbers else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    # What reads a pipe has no width: nothing is cut off there.
    screen = Console(highlight=False)
    if not screen.is_terminal:
        screen.width = _PIPE_WIDTH
    screen.print(table)
