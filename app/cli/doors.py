"""`jalur doors`: accounts for resellers whose clients speak a protocol of the field."""

import shlex
from datetime import timedelta
from typing import Annotated, Any

import typer

from app.administration import doors
from app.administration.doors import SHAPES, DoorTools, Opened, WantedDoor
from app.administration.resellers import find
from app.cli.resellers import Which
from app.cli.terminal import Json, Reason, act, look, tell
from app.outbound.addresses import AddressPolicy
from app.sealing import Sealer
from app.settings import read_settings
from app.storage import doors as stored
from app.storage.doors import Door
from app.storage.pool import Connection

doors_app = typer.Typer(
    help="Doors: accounts for clients that speak digiflazz, otomax or irs.", no_args_is_help=True
)

Shape = Annotated[str, typer.Argument(metavar="SHAPE", help=f"One of {', '.join(SHAPES)}.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="What its client calls itself.")]
From = Annotated[
    list[str] | None,
    typer.Option(
        "--from", metavar="CIDR", help="A network that it is called from; all others are refused."
    ),
]


@doors_app.command("add")
def add_command(
    reseller: Which,
    shape: Shape,
    name: Annotated[
        str | None, typer.Option(help="What its client calls itself; else one is made.")
    ] = None,
    callback: Annotated[
        str | None, typer.Option(metavar="URL", help="Where its client is told of its orders.")
    ] = None,
    networks: From = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Give a reseller a door. Its credentials are shown this once."""
    wanted = WantedDoor(shape, name, callback, tuple(networks or ()))
    opened = act(lambda pool, by: doors.add(pool, by, _tools(), reseller, wanted, reason))
    _tell_opened(opened, as_json=as_json)


@doors_app.command("list")
def list_command(reseller: Which, as_json: Json = False) -> None:
    """All doors that a reseller ever had, without their secrets."""

    async def read(connection: Connection) -> list[Door]:
        account = await find(connection, reseller)
        return await stored.list_of(connection, account.lane, account.reseller_id)

    found = look(read)
    nothing = f"No doors. Next: jalur doors add {shlex.quote(reseller)} SHAPE"
    lines = [_line(door) for door in found] or [nothing]
    tell({"doors": [_document(door) for door in found]}, lines, as_json=as_json)


@doors_app.command("rotate")
def rotate_command(
    shape: Shape,
    name: Name,
    overlap_hours: Annotated[
        int, typer.Option(min=0, max=720, help="How long the old credentials open beside the new.")
    ] = 24,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Give a door new credentials, which are shown this once."""
    overlap = timedelta(hours=overlap_hours)
    opened = act(lambda pool, by: doors.rotate(pool, by, _tools(), shape, name, overlap, reason))
    _tell_opened(opened, as_json=as_json)


@doors_app.command("networks")
def networks_command(
    shape: Shape, name: Name, networks: From = None, reason: Reason = "", as_json: Json = False
) -> None:
    """Open a door only to these networks; without any, to all. In force within a second."""
    door = act(lambda pool, by: doors.set_networks(pool, by, shape, name, networks or (), reason))
    tell(_document(door), [_line(door)], as_json=as_json)


@doors_app.command("callback")
def callback_command(
    shape: Shape,
    name: Name,
    url: Annotated[str, typer.Argument(metavar="URL")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Tell a door's client of its orders at this address, of those still to be told as well."""
    opened = act(lambda pool, by: doors.set_callback(pool, by, _tools(), shape, name, url, reason))
    _tell_opened(opened, as_json=as_json)


@doors_app.command("remove")
def remove_command(shape: Shape, name: Name, reason: Reason = "", as_json: Json = False) -> None:
    """Close a door for good, within a second. Its orders are seen through, and told."""
    removed = act(lambda pool, by: doors.remove(pool, by, shape, name, reason))
    told = f"The {shape} door {name} is closed." if removed else "It was closed before."
    tell({"changed": removed}, [told], as_json=as_json)


def _tools() -> DoorTools:
    settings = read_settings()
    policy = AddressPolicy(settings.webhook_allow, settings.webhook_allow_http)
    return DoorTools(Sealer(settings.require_secret_keys()), policy)


def _tell_opened(opened: Opened, *, as_json: bool) -> None:
    shown = {**_document(opened.door), "credentials": dict(opened.credentials)}
    lines = [f"{name}={value}" for name, value in opened.credentials.items()]
    tell(shown, lines, as_json=as_json)
    if not as_json:
        typer.echo("The credentials are shown this once; hand them over safely.", err=True)


def _document(door: Door) -> dict[str, Any]:
    return {
        "id": door.door_id,
        "reseller_id": door.reseller_id,
        "shape": door.shape,
        "name": door.name,
        "path": f"/doors/{door.shape}",
        "networks": [str(each) for each in door.networks],
        "endpoint_id": door.endpoint_id,
        "created_at": door.created_at,
        "previous_until": door.previous_until,
        "removed_at": door.removed_at,
    }


def _line(door: Door) -> str:
    whence = ", ".join(str(each) for each in door.networks) or "anywhere"
    state = f"closed {door.removed_at:%Y-%m-%d %H:%M}" if door.removed_at else f"from {whence}"
    told = "" if door.endpoint_id is None else f", told at endpoint {door.endpoint_id}"
    return f"{door.shape} {door.name}  {state}{told}, since {door.created_at:%Y-%m-%d}"
