"""`jalur keys`: what resellers' programs identify themselves with."""

from typing import Annotated

import typer

from app.administration import documents, keys
from app.administration.resellers import find
from app.cli.resellers import Orders, Reads, Which, rates_of
from app.cli.terminal import Json, Reason, act, look, tell, tell_secret
from app.storage import api_keys
from app.storage.api_keys import KeyRecord
from app.storage.pool import Connection
from schemas.admin.resellers import Key

keys_app = typer.Typer(help="Resellers' keys.", no_args_is_help=True)


@keys_app.command("add")
def add_command(
    reseller: Which,
    mode: Annotated[str, typer.Option(help="live or test: a name, both order alike.")] = "live",
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Give a reseller another key, which is shown this once."""
    account, key = act(lambda pool, by: keys.add(pool, by, reseller, mode, reason))
    note = (
        f"This key of {account.name} is shown this once; hand it over safely. "
        "It orders with the header `Authorization: Bearer KEY`."
    )
    tell_secret(documents.created_key(account, key), key.token, note, as_json=as_json)


@keys_app.command("list")
def list_command(reseller: Which, as_json: Json = False) -> None:
    """All keys that a reseller ever had, without their secrets."""

    async def read(connection: Connection) -> list[KeyRecord]:
        account = await find(connection, reseller)
        return await api_keys.list_of(connection, account.lane, account.reseller_id)

    found = look(read)
    lines = [_line(key) for key in found] or [f"No keys. Next: jalur keys add {reseller}"]
    tell({"keys": [Key.of(key) for key in found]}, lines, as_json=as_json)


KeyId = Annotated[str, typer.Argument(help="The part behind its mode; `keys list` has it.")]


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
    lines = [_line(done.key)] if done.changed else ["Nothing changed.", _line(done.key)]
    tell({**Key.of(done.key), "changed": done.changed}, lines, as_json=as_json)


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


def _line(key: KeyRecord) -> str:
    state = f"revoked {key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "alive"
    return f"{key.key_id}  {key.mode}, {state}, since {key.created_at:%Y-%m-%d}{rates_of(key)}"
