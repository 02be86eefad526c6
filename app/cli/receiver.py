"""A webhook receiver as a reseller would write it, so that the demo and the tests have a witness.

It verifies each delivery with the public `standardwebhooks` package, not with our own signing
code, and writes it down before it answers 204; so what it lists was really received, and stays
received if it is killed. Run it as a process of its own:

    python -m app.cli.receiver --port 0 --state-dir DIR
"""

import argparse
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
import uvicorn
from pydantic import BaseModel, Field, ValidationError
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

MAX_BODY_BYTES = 65_536
LIVE = b'{"status":"ok"}'
PRIVATE_FILE = 0o600

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


Secret = Annotated[str, Field(pattern=r"^whsec_[A-Za-z0-9+/=]+$")]


class SecretChange(BaseModel):
    """The body of `PUT /secret`: one secret, or a list of them while one rotates."""

    secret: Secret | Annotated[list[Secret], Field(min_length=1)]


class Payload(BaseModel):
    """What every webhook carries."""

    type: str
    timestamp: str
    data: Any


class BadSignature(Exception):
    """No accepted secret made this signature, or its headers cannot be read."""


class BadPayload(Exception):
    """Signed, but not a JSON object with `type`, `timestamp` and `data`."""


class BodyTooLong(Exception):
    """More than `MAX_BODY_BYTES`."""


class Disconnected(Exception):
    """The sender went away before its body was whole."""


@dataclass(slots=True)
class Event:
    """One event, however many times it was delivered."""

    webhook_id: str
    timestamp: str
    type: str
    data: Any
    times_received: int = 0


class Inbox:
    """What was received, in memory and, a line each, in `received.jsonl`.

    One `write` a line in append mode: killed at any instant, at most the last line is torn, and
    that one was not yet answered.
    """

    def __init__(self, state_dir: Path) -> None:
        state_dir.mkdir(parents=True, exist_ok=True)
        self._secrets_path = state_dir / "secrets.json"
        self._events: dict[str, Event] = {}
        self._webhooks: list[Webhook] = []
        self.refused = 0
        if self._secrets_path.exists():
            self._trust(orjson.loads(self._secrets_path.read_bytes()))
        self._replay(state_dir / "received.jsonl")
        self._file = os.open(
            state_dir / "received.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE_FILE
        )

    def accept_secrets(self, secrets: list[str]) -> None:
        """Accept these from now on, instead of any before. ValueError for a malformed one."""
        self._trust(secrets)
        written = self._secrets_path.with_suffix(".new")
        written.touch(PRIVATE_FILE)
        written.write_bytes(orjson.dumps(secrets))
        written.replace(self._secrets_path)

    def take(self, headers: Mapping[str, str], body: bytes) -> None:
        """Verify, write down, remember. Raises `BadSignature` or `BadPayload`, both counted."""
        try:
            self._verify(headers, body)
            line = _to_line(headers["webhook-id"], body)
        except (BadSignature, BadPayload):
            self.refused += 1
            raise
        os.write(self._file, line)
        self._remember(orjson.loads(line))

    def listing(self) -> bytes:
        """The answer to `GET /received`."""
        return orjson.dumps({"verified": list(self._events.values()), "refused": self.refused})

    def _verify(self, headers: Mapping[str, str], body: bytes) -> None:
        for webhook in self._webhooks:
            try:
                webhook.verify(body, dict(headers), json_parse=False)
            except (WebhookVerificationError, ValueError):
                continue
            return
        raise BadSignature

    def _trust(self, secrets: list[str]) -> None:
        self._webhooks = [Webhook(secret) for secret in secrets]

    def _remember(self, item: dict[str, Any]) -> None:
        event = self._events.setdefault(item["webhook_id"], Event(**item))
        event.times_received += 1

    def _replay(self, path: Path) -> None:
        if not path.exists():
            return
        whole, newline, _torn = path.read_bytes().rpartition(b"\n")
        os.truncate(path, len(whole) + len(newline))
        for line in whole.splitlines():
            self._remember(orjson.loads(line))


class Receiver:
    """The ASGI application: `POST /hooks`, `PUT /secret`, `GET /received`, `GET /livez`."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            status, body = await self._answer(scope, receive)
        except BodyTooLong:
            status, body = 413, b""
        except Disconnected:
            return
        headers = [(b"content-length", str(len(body)).encode())]
        if body:
            headers.append((b"content-type", b"application/json"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Message, receive: Receive) -> tuple[int, bytes]:
        match scope["method"], scope["path"]:
            case "POST", "/hooks":
                return self._take(scope, await _read_body(receive)), b""
            case "PUT", "/secret":
                return self._accept_secrets(await _read_body(receive)), b""
            case "GET", "/received":
                return 200, self._inbox.listing()
            case "GET", "/livez":
                return 200, LIVE
            case _:
                return 404, b""

    def _take(self, scope: Message, body: bytes) -> int:
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        try:
            self._inbox.take(headers, body)
        except BadSignature:
            return 401
        except BadPayload:
            return 400
        return 204

    def _accept_secrets(self, body: bytes) -> int:
        try:
            secret = SecretChange.model_validate_json(body).secret
            self._inbox.accept_secrets([secret] if isinstance(secret, str) else secret)
        except ValueError:
            return 400
        return 204


class AnnouncedServer(uvicorn.Server):
    """Prints one JSON line with its address as soon as it answers."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        host, port = (sockets or [])[0].getsockname()
        print(json.dumps({"listening": f"http://{host}:{port}"}), flush=True)


def run(port: int, state_dir: Path) -> None:
    """Serve on 127.0.0.1 until SIGTERM or SIGINT; port 0 takes any free one. Raises OSError."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        config = uvicorn.Config(
            Receiver(Inbox(state_dir)), lifespan="off", log_level="warning", access_log=False
        )
        AnnouncedServer(config).run(sockets=[listener])


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="Receive, verify and list webhooks.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    arguments = parser.parse_args()
    run(arguments.port, arguments.state_dir)


async def _read_body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLong
        if not message.get("more_body", False):
            return body


def _to_line(webhook_id: str, body: bytes) -> bytes:
    """The event as one line of `received.jsonl`. Raises `BadPayload`."""
    try:
        payload = Payload.model_validate_json(body)
    except ValidationError:
        raise BadPayload from None
    item = {"webhook_id": webhook_id, **payload.model_dump()}
    return orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE)


if __name__ == "__main__":
    main()
