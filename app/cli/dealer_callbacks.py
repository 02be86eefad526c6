"""`jalur dealers callbacks`: what a dealer sent to us, and what became of it."""

import json
from typing import Annotated

import typer

from app.administration import dealers, documents
from app.cli.terminal import Json, look, tell
from app.storage.callbacks import Seen


def callbacks_command(
    dealer: Annotated[str, typer.Argument(metavar="DEALER", help="Its id.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """Its last callbacks: whence, how they were read, what became of them; refused ones too."""
    seen = look(lambda connection: dealers.callbacks_of(connection, dealer, limit))
    shown = {"callbacks": [documents.dealer_callback(each) for each in seen]}
    lines = [line for each in seen for line in _lines(each)]
    tell(shown, lines or [f"{dealer} never called back."], as_json=as_json)


def _lines(seen: Seen) -> list[str]:
    times = f", {seen.times_received} times" if seen.times_received > 1 else ""
    trusted = ", trusted" if seen.trusted else ""
    head = f"{seen.last_received_at:%Y-%m-%d %H:%M:%S} {seen.verdict} from {seen.source_address}"
    return [f"{head}{trusted}{times}", f"    {_understood(seen)}", f"    {_request(seen)}"]


def _understood(seen: Seen) -> str:
    if seen.cause is not None:
        return f"{seen.cause}: {seen.detail}"
    if seen.reading is None:
        return "how it was read was not kept"
    reading = json.loads(seen.reading)
    signed = "signed" if reading["verified"] else "not signed"
    said = f"{reading['dealer_ref']} {reading['outcome']} ({reading['code']}), {signed}"
    return f"{said}: {reading['message']}" if reading["message"] else said


def _request(seen: Seen) -> str:
    sent = f"{seen.method} ?{seen.query}" if seen.query else seen.method
    body = " ".join(seen.body.decode("utf-8", "replace").split())
    return f"{sent} {body}".strip()
