"""`jalur keys`: what resellers' programs identify themselves with."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from app.administration import documents, keys
from app.administration.keys import DEFAULT_OVERLAP, NewKey
from app.cli.resellers import Orders, Reads, Which, rates_of
from app.cli.table import read_moment
from app.cli.terminal import Json, Reason, act, look, tell, tell_secret
from app.scopes import KeyScope
from app.storage.api_keys import KeyRecord

keys_app = typer.Typer(help="Resellers' keys.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(help="The part behind its mode; `keys list` has it.")]


@keys_app.command("add")
def add_command(
    reseller: Which,
    mode: Annotated[
        str, typer.Option(help="live; or test, which reaches nothing but the simulator.")
    ] = "live",
    name: Annotated[str, typer.Option(help="What the reseller calls it.")] = "",
    scope: Annotated[
        list[KeyScope] | None, typer.Option(help="What it opens, may be repeated; without: all.")
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(metavar="CIDR", help="From where it is taken, may be repeated."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="Until when, such as 2027-01-31T18:00+07:00.")
    ] = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Give a reseller another key, which is shown this once."""
    ends = None if expires is None else read_moment(expires)
    new = NewKey(mode, name, scope, address or (), ends)
    account, key = act(
        lambda pool, by: keys.add(pool, by, reseller, new, datetime.now(UTC), reason)
    )
    note = (
        f"This key of {account.name} is shown this once; hand it over safely. "
        "It orders with the header `Authorization: Bearer KEY`."
    )
    tell_secret(documents.created_key(account, key), key.token, note, as_json=as_json)


@keys_app.command("rotate")
def rotate_command(
    key_id: KeyId,
    overlap_hours: Annotated[
        float, typer.Option(help="How long the old key lives on; 0: not at all.")
    ] = DEFAULT_OVERLAP / timedelta(hours=1),
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Give out a key in place of another one, which lives on for a while."""
    overlap = timedelta(hours=overlap_hours)
    account, key = act(
        lambda pool, by: keys.rotate(pool, by, key_id, overlap, datetime.now(UTC), reason)
    )
    note = (
        f"This key of {account.name} is shown this once; hand it over safely. "
        f"The key {key_id} lives on for {overlap_hours:g} hours."
    )
    tell_secret(documents.created_key(account, key), key.token, note, as_json=as_json)


@keys_app.command("list")
def list_command(reseller: Which, as_json: Json = False) -> None:
    """All keys that a reseller ever had, on both of its sides, without their secrets."""
    found = look(lambda connection: keys.keys_of(connection, reseller))
    now = datetime.now(UTC)
    lines = [_line(key, now) for key in found] or [f"No keys. Next: jalur keys add {reseller}"]
    tell({"keys": [documents.key(key) for key in found]}, lines, as_json=as_json)


@keys_app.command("limit")
def limit_command(
    key_id: KeyId,
    orders: Orders = None,
    reads: Reads = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Set how much may be asked with a key, beside its reseller's rates, which hold as well."""
    done = act(lambda pool, by: keys.limit(pool, by, key_id, orders, reads, reason))
    line = _line(done.key, datetime.now(UTC))
    lines = [line] if done.changed else ["Nothing changed.", line]
    tell({**documents.key(done.key), "changed": done.changed}, lines, as_json=as_json)


@keys_app.command("revoke")
def revoke_command(
    key_id: KeyId,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Revoke a key for good, within a second."""
    revoked = act(lambda pool, by: keys.revoke(pool, by, key_id, reason))
    told = f"The key {key_id} is revoked." if revoked else "It was revoked before."
    tell({"changed": revoked}, [told], as_json=as_json)


def _line(key: KeyRecord, now: datetime) -> str:
    told = [key.mode, _state(key, now), f"since {key.created_at:%Y-%m-%d}"]
    if key.name:
        told.insert(0, key.name)
    if key.scopes is not None:
        told.append(f"opens {' '.join(sorted(key.scopes))}")
    if key.addresses:
        told.append(f"from {' '.join(map(str, key.addresses))}")
    if key.last_used_at is not None:
        told.append(f"used {key.last_used_at:%Y-%m-%d %H:%M} from {key.last_used_from}")
    return f"{key.key_id}  {', '.join(told)}{rates_of(key)}"


def _state(key: KeyRecord, now: datetime) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at:%Y-%m-%d %H:%M}"
    if key.expires_at is None:
        return "alive"
    return f"{'alive until' if key.is_alive(now) else 'expired'} {key.expires_at:%Y-%m-%d %H:%M}"
