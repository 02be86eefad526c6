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
from typing import cast

import orjson
import uvloop
from httptools import HttpRequestParser

from loadtests.orders import read_reference

_HOST = "127.0.0.1"
_PREFIX = "whsec_"
_BACKLOG = 2048
_TOLERANCE_SECONDS = 300
_NEWS_EVERY_SECONDS = 0.01
_HOOKS = b"/hooks/"
_NEWS = b"/news?"
_HEARD = b"HTTP/1.1 204 No Content\r\n\r\n"
_REFUSED = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"


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


class Connection(asyncio.Protocol):
    """One connection: `POST /hooks/{endpoint}`, `GET /news?{after}`, `GET /counts`.

    Without a framework, and one write an answer, so that it takes little of the machine from what
    is measured.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._parser = HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to answer."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Read on; the parser calls the methods below."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._headers: dict[bytes, bytes] = {}
        self._body = b""

    def on_url(self, url: bytes) -> None:
        """Its path and query."""
        self._url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        self._body += body

    def on_message_complete(self) -> None:
        """It is whole: answer."""
        if self._url.startswith(_HOOKS):
            endpoint = int(self._url[len(_HOOKS) :])
            taken = self._inbox.take(endpoint, self._headers, self._body)
            self._transport.write(_HEARD if taken else _REFUSED)
        elif self._url.startswith(_NEWS):
            # One question at a time is open, so waiting here bounds how often it is asked.
            after = int(self._url[len(_NEWS) :])
            asyncio.get_running_loop().call_later(_NEWS_EVERY_SECONDS, self._send_news, after)
        else:
            self._send(self._inbox.counts())

    def _send_news(self, after: int) -> None:
        self._send(self._inbox.news(after))

    def _send(self, body: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


async def serve(inbox: Inbox, port: int) -> None:
    """Serve on 127.0.0.1 until the process ends; prints the address as one JSON line."""
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(inbox), _HOST, port, backlog=_BACKLOG
    )
    host, port = server.sockets[0].getsockname()
    print(json.dumps({"listening": f"http://{host}:{port}"}), flush=True)
    await server.serve_forever()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.receiver", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--secrets", type=Path, required=True, help="JSON: a secret an endpoint")
    arguments = parser.parse_args()
    inbox = Inbox(json.loads(arguments.secrets.read_text()))
    uvloop.run(serve(inbox, arguments.port))


if __name__ == "__main__":
    main()
