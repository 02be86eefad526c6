"""A webhook receiver that costs little and believes nothing.

Every webhook's signature is checked against the secret of the endpoint that it came to, and its
order against the reseller who owns that endpoint. The load client asks here which orders have
been reported, and when. It shares no code with the side that signs. Run as a process of its own:

    python -m loadtests.receiver --port 0 --secrets FILE
"""

import argparse
import asyncio
import base64
import hmac
import json
import time
from array import array
from collections.abc import Sequence
from pathlib import Path

import orjson
import uvicorn

from app.cli.receiver import AnnouncedServer, Message, Receive, Send
from app.cli.serve import listen
from loadtests.orders import read_reference

_HOST = "127.0.0.1"
_PREFIX = "whsec_"
_TOLERANCE_SECONDS = 300
_NEWS_EVERY_SECONDS = 0.01
_HOOKS = "/hooks/"


class Rejected(Exception):
    """A webhook that must not have been sent. The message is the reason it is counted under."""


class Inbox:
    """Which orders have been reported, when, and what was wrong with anything else."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [base64.b64decode(each.removeprefix(_PREFIX)) for each in secrets]
        self._seen: set[int] = set()
        self._heard = array("d")
        self._repeated = 0
        self._rejected: dict[str, int] = {}

    def take(self, endpoint: int, headers: dict[bytes, bytes], body: bytes) -> bool:
        """Check one webhook and note its order. False: it was wrong, and is counted as such."""
        try:
            self._verify(self._keys[endpoint], headers, body)
            number = _order_number(endpoint, body)
        except Rejected as rejected:
            reason = str(rejected)
            self._rejected[reason] = self._rejected.get(reason, 0) + 1
            return False
        if number in self._seen:
            self._repeated += 1
        else:
            self._seen.add(number)
            self._heard.append(number)
            self._heard.append(time.monotonic())
        return True

    def news(self, after: int) -> bytes:
        """Orders reported since the first `after` ones: pairs of number and monotonic seconds."""
        return self._heard[2 * after :].tobytes()

    def counts(self) -> bytes:
        """How many orders were reported, how many webhooks came again, which were rejected."""
        return orjson.dumps(
            {
                "orders": len(self._seen),
                "repeated": self._repeated,
                "rejected": self._rejected,
            }
        )

    def _verify(self, key: bytes, headers: dict[bytes, bytes], body: bytes) -> None:
        """The check that the Standard Webhooks specification asks of a receiver."""
        stamp = headers.get(b"webhook-timestamp", b"")
        if not stamp.isdigit() or abs(time.time() - int(stamp)) > _TOLERANCE_SECONDS:
            raise Rejected("timestamp")
        signed = b"%s.%s.%s" % (headers.get(b"webhook-id", b""), stamp, body)
        expected = b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
        given = headers.get(b"webhook-signature", b"").split(b" ")
        if not any(hmac.compare_digest(expected, each) for each in given):
            raise Rejected("signature")


def _order_number(endpoint: int, body: bytes) -> int:
    """The number of the delivered order that the webhook tells of, to its own buyer."""
    event = orjson.loads(body)
    number, buyer = read_reference(event["data"]["ref_id"])
    if buyer != endpoint:
        raise Rejected("another reseller's order")
    if event["type"] != "order.succeeded" or event["data"]["status"] != "succeeded":
        raise Rejected(event["type"])
    return number


class Receiver:
    """The ASGI application: `POST /hooks/{endpoint}`, `GET /news?{after}`, `GET /counts`."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path: str = scope["path"]
        if path.startswith(_HOOKS):
            body = await _read_body(receive)
            taken = self._inbox.take(int(path[len(_HOOKS) :]), dict(scope["headers"]), body)
            await _answer(send, 204 if taken else 401, b"")
        elif path == "/news":
            # One question at a time is open, so waiting here bounds how often it is asked.
            await asyncio.sleep(_NEWS_EVERY_SECONDS)
            await _answer(send, 200, self._inbox.news(int(scope["query_string"])))
        else:
            await _answer(send, 200, self._inbox.counts())


async def _read_body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve on 127.0.0.1 until SIGTERM; prints its address as one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.receiver", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--secrets", type=Path, required=True, help="JSON: a secret an endpoint")
    arguments = parser.parse_args()
    inbox = Inbox(json.loads(arguments.secrets.read_text()))
    config = uvicorn.Config(
        Receiver(inbox),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=600,
    )
    AnnouncedServer(config).run(sockets=[listen(_HOST, arguments.port)])


if __name__ == "__main__":
    main()
