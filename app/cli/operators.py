"""`jalur operators`: who else may steer, over HTTP."""

from typing import Annotated

import typer

from app.administration import documents, tokens
from app.administration.operator import Scope
from app.cli.terminal import Json, Reason, act, look, tell, tell_secret
from app.storage import operator_tokens
from app.storage.operator_tokens import TokenRecord
from schemas.admin.operators import OperatorToken

operators_app = typer.Typer(help="Operators' tokens, for /admin/v1.", no_args_is_help=True)


@operators_app.command("add")
def add_command(
    name: Annotated[str, typer.Argument(help="Who; the audit log calls it so.")],
    scope: Annotated[list[Scope], typer.Option(help="What it opens; may be given more than once.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Give an operator a token, which is shown this once."""
    scopes = frozenset(scope)
    token = act(lambda pool, by: tokens.add(pool, by, name, scopes, reason))
    document = documents.created_token(name, sorted(scopes), token)
    note = (
        f"This token of {name} is shown this once; hand it over safely. It opens /admin/v1 for "
        f"{', '.join(sorted(scopes))} with the header `Authorization: Bearer TOKEN`."
    )
    tell_secret(document, token.token, note, as_json=as_json)


@operators_app.command("list")
def list_command(as_json: Json = False) -> None:
    """All tokens ever given out, without their secrets."""
    found = look(operator_tokens.list_all)
    lines = [_line(token) for token in found]
    empty = ["There are no tokens. Next: jalur operators add NAME --scope read"]
    shown = {"operators": [OperatorToken.of(token) for token in found]}
    tell(shown, lines or empty, as_json=as_json)


@operators_app.command("revoke")
def revoke_command(
    token_id: Annotated[str, typer.Argument(help="`operators list` has it.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Revoke a token for good, within a second."""
    revoked = act(lambda pool, by: tokens.revoke(pool, by, token_id, reason))
    told = f"The token {token_id} is revoked." if revoked else "It was revoked before."
    tell({"changed": revoked}, [told], as_json=as_json)


def _line(token: TokenRecord) -> str:
    state = f"revoked {token.revoked_at:%Y-%m-%d %H:%M}" if token.revoked_at else "alive"
    return f"{token.token_id}  {token.name}: {', '.join(token.scopes)}; {state}"
